"""What a campaign found, kept for docs/campaigns.md."""

import fcntl
import json
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.support.paths import ROOT

HEAD = """# What the campaigns found

`make campaign` runs what takes hours, and writes this page. Each test of a campaign fails if it
finds what must not be. The numbers say how hard it looked.

"""
FOUND = ROOT / "build" / "campaign"


def _this_commit() -> str:
    argv = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "an unknown commit"


def found(campaign: str, figures: dict[str, Any]) -> None:
    """Add figures to what a campaign found: the last of a name stands, and several may write."""
    FOUND.mkdir(parents=True, exist_ok=True)
    with (FOUND / f"{campaign}.json").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        known = json.loads(file.read() or "{}")
        when = f"{datetime.now(UTC):%Y-%m-%d}, {_this_commit()}, {os.cpu_count()} cores"
        rows = {name: row | {"run on": when} for name, row in figures.items()}
        file.truncate(0)
        file.write(json.dumps(known | rows, indent=1) + "\n")


def told(folder: Path = FOUND) -> str:
    """All that was found, as Markdown: a table for each campaign."""
    files = sorted(folder.glob("*.json"))
    if not files:
        raise SystemExit(f"No campaign has found anything in {folder}: run `make campaign`.")
    parts = []
    for file in files:
        rows = json.loads(file.read_text())
        columns = list(dict.fromkeys(name for row in rows.values() for name in row))
        lines = [
            f"## {file.stem}",
            "",
            f"| | {' | '.join(columns)} |",
            "|---" * (len(columns) + 1) + "|",
        ]
        lines += [
            f"| {name} | {' | '.join(str(row.get(column, '')) for column in columns)} |"
            for name, row in rows.items()
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    (ROOT / "docs" / "campaigns.md").write_text(HEAD + told())
