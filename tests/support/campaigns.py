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


def told(folder: Path = FOUND, page: str = "") -> str:
    """The page with all that was found, a table for each campaign.

    Args:
        folder: What the campaigns of this checkout found.
        page: The page so far. A campaign that did not run here keeps its table.
    """
    files = sorted(folder.glob("*.json"))
    if not files:
        raise SystemExit(f"No campaign has found anything in {folder}: run `make campaign`.")
    tables = {}
    for part in page.split("\n## ")[1:]:
        name, _, table = part.partition("\n")
        tables[name] = table.strip()
    tables |= {file.stem: _table(json.loads(file.read_text())) for file in files}
    return HEAD + "\n\n".join(f"## {name}\n\n{tables[name]}" for name in sorted(tables)) + "\n"


def _table(rows: dict[str, dict[str, Any]]) -> str:
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    lines = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    lines += [
        f"| {name} | {' | '.join(str(row.get(column, '')) for column in columns)} |"
        for name, row in rows.items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    shown = ROOT / "docs" / "campaigns.md"
    shown.write_text(told(page=shown.read_text() if shown.exists() else ""))
