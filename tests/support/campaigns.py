"""What a campaign found, kept for docs/campaigns.md."""

import json
from pathlib import Path
from typing import Any

from tests.support.paths import ROOT

HEAD = """# What the campaigns found

`make campaign` runs what takes hours, and writes this page. Each test of a campaign fails if it
finds what must not be. The numbers say how hard it looked.

"""
FOUND = ROOT / "build" / "campaign"


def found(campaign: str, figures: dict[str, Any]) -> None:
    """Add figures to what a campaign found; the last of a name stands."""
    FOUND.mkdir(parents=True, exist_ok=True)
    file = FOUND / f"{campaign}.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(known | figures, indent=1) + "\n")


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
