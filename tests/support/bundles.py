"""What a forger does to a bundle of evidence."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.records.evaluated import Evaluated
from tasks.records.record import sha256
from tasks.records.verdict import Verdict
from tasks.release.evidence import MANIFEST, Bundle, File, Manifest


def paths(bundle: Path) -> list[str]:
    """Paths of all files of a bundle, in order."""
    found = (path.relative_to(bundle) for path in bundle.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in found)


def reseal(bundle: Path, changes: dict[str, bytes]) -> None:
    """What a forger does: change files, and make a manifest that fits."""
    for path, data in changes.items():
        (bundle / path).write_bytes(data)
    files = {
        path: File(sha256=sha256(data), size_bytes=len(data))
        for path in paths(bundle)
        if path != MANIFEST
        for data in [(bundle / path).read_bytes()]
    }
    old = Bundle(str(bundle)).manifest
    (bundle / MANIFEST).write_bytes(
        Manifest(format=old.format, run=old.run, files=files).sealed().data
    )


def changed_record(bundle: Path, step: str, change: Callable[[Any], None]) -> bytes:
    content = json.loads((bundle / step / "record.json").read_text())
    change(content)
    return json.dumps(content).encode()


def linked_records(bundle: Path, change: dict[str, Callable[[Any], None]]) -> dict[str, bytes]:
    """Records with changes, and the hashes by which later ones name them brought in line."""
    changes: dict[str, bytes] = {}
    gives: dict[str, Any] = {"evaluate": Evaluated, "gate": Verdict}
    content = json.loads((bundle / "evaluate/record.json").read_text())
    change["evaluate"](content)
    changes["evaluate/record.json"] = json.dumps(content).encode()
    evaluated = gives["evaluate"].model_validate(content)
    verdict = json.loads((bundle / "gate/record.json").read_text())
    verdict["provenance"]["inputs"]["evaluate"] = evaluated.content_hash
    changes["gate/record.json"] = json.dumps(verdict).encode()
    return changes
