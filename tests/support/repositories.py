"""Git repositories of tests."""

import subprocess
from pathlib import Path


def git(root: Path, *arguments: str) -> str:
    """What git says in a repository, as somebody."""
    who = ("-c", "user.name=a", "-c", "user.email=a@house.example")
    argv = ["git", "-C", str(root), *who, *arguments]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()
