"""A stack of `containers/stack.sh` without an engine: one program answers as docker and compose do,
as far as the script asks them. Nothing is started; what was asked is kept."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.stack import SCRIPT

# FAIL names a part of the words of a call that fails. NONE: no container is there.
ENGINE = """#!/bin/sh
here=$(dirname "$0")
printf '%s\\n' "$*" >>"$here/calls"
env >"$here/environment of the last call"
case "$*" in
*"${FAIL:-nothing fails}"*)
    echo "half of the answer"
    echo "the engine says no" >&2
    exit 1
    ;;
*" ps --quiet"*) [ -n "${NONE:-}" ] || echo id1 ;;
inspect*) echo "${STATE:-/x running/healthy/0}" ;;
"volume ls"*) cat "$here/volumes" 2>/dev/null || exit 0 ;;
*pg_dump*) echo "dump" ;;
*pg_restore*) cat >>"$here/restored" ;;
*"objects save"*) echo "objects" ;;
*"objects load"*) cat >>"$here/restored" ;;
*" up --detach"*) echo data_of_postgres >"$here/volumes" ;;
*"down --volumes"*) rm -f "$here/volumes" ;;
esac
"""


@dataclass
class FakeStack:
    """A stack in `home`/stack, by an engine that is none."""

    home: Path

    def __post_init__(self) -> None:
        self.engine = self.home / "engine" / "docker"
        self.engine.parent.mkdir()
        self.engine.write_text(ENGINE)
        self.engine.chmod(0o755)
        self.folder = self.home / "stack"
        self.secrets = self.folder / "secrets"

    def __call__(self, *argv: str, **environment: str) -> "Said":
        """Run ``stack.sh ARGV`` in `home`."""
        done = subprocess.run(
            ["sh", SCRIPT, *argv],
            env={
                "PATH": os.environ["PATH"],
                "STACK": str(self.folder),
                "DOCKER": str(self.engine),
                "COMPOSE": str(self.engine),
                "SECONDS_TO_START": "0",
                **environment,
            },
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Said(done.returncode, done.stdout + done.stderr)

    def calls(self) -> list[str]:
        """What was asked since the last look, without compose's own options."""
        kept = self.engine.parent / "calls"
        lines = kept.read_text().splitlines() if kept.exists() else []
        kept.unlink(missing_ok=True)
        return [line.partition("compose.yaml ")[2] or line for line in lines]

    def asked_with(self) -> dict[str, str]:
        """The environment of the last call."""
        kept = (self.engine.parent / "environment of the last call").read_text()
        return dict(line.split("=", 1) for line in kept.splitlines() if "=" in line)

    def settings(self) -> dict[str, str]:
        """The file of settings. Fails if a setting stands there twice."""
        lines: list[tuple[str, str]] = [
            (line.partition("=")[0], line.partition("=")[2])
            for line in (self.folder / "environment").read_text().splitlines()
            if not line.startswith("#")
        ]
        assert len({name for name, _ in lines}) == len(lines), lines
        return dict(lines)

    def state(self) -> dict[str, bytes]:
        """All files of the home but the engine's."""
        return dict(self._files())

    def _files(self) -> Iterator[tuple[str, bytes]]:
        for path in sorted(self.home.rglob("*")):
            if path.is_file() and self.engine.parent not in path.parents:
                yield str(path.relative_to(self.home)), path.read_bytes()


@dataclass(frozen=True)
class Said:
    """How a call ended, and all that it said."""

    code: int
    words: str

    def refused(self) -> str:
        """The words, of a refusal in the form of all refusals."""
        assert self.code == 64, self
        assert "  Expected: " in self.words or "  Do:       " in self.words
        return self.words

    def done(self) -> str:
        assert self.code == 0, self
        return self.words
