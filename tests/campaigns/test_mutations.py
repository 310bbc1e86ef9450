"""Defects put in on purpose: each is noticed by the tests that are named beside it.

A text stands for its place. Where a text is found no more, or twice, the mutation is out of date
and this test says so. `make test` runs the named tests among all others.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.campaigns import found
from tests.support.paths import ROOT


@dataclass(frozen=True)
class Mutation:
    """A defect, the text that it takes the place of, and the tests that must notice it."""

    name: str
    text: str
    instead: str
    noticed_by: str


MUTATIONS = (
    Mutation(
        "a bound inverted: the upper bound passes a rule",
        "decided(holds=lower >= minimum, fails=upper < minimum)",
        "decided(holds=upper >= minimum, fails=upper < minimum)",
        "evaluation/test_rules.py",
    ),
    Mutation(
        "one failed rule no longer fails the model",
        'fails="fail" in decisions,',
        'fails=decisions == {"fail"},',
        "evaluation/test_rules.py",
    ),
    Mutation(
        "a rule dropped: the last of the policy is not judged",
        "for asked in policy.rules:",
        "for asked in policy.rules[:-1]:",
        "evaluation/test_rules.py",
    ),
    Mutation(
        "a look at the test part costs nothing",
        "return 1 - error_at(look, self.spending.error) if self.spending else CONFIDENCE",
        "return CONFIDENCE",
        "splitting/test_looks.py",
    ),
    Mutation(
        "an artifact's hash unchecked",
        "if sha256(data) != artifact.sha256:",
        "if artifact is None:",
        "engine/test_run.py",
    ),
    Mutation(
        "a sealed file's hash unchecked",
        "(named.sha256, named.size_bytes) != (sha256(data), len(data))",
        "named.size_bytes != len(data)",
        "release/test_forgeries.py",
    ),
    Mutation(
        "an added file unnoticed",
        "for path in sorted(there - named):",
        "for path in sorted(set()):",
        "release/test_forgeries.py",
    ),
    Mutation(
        "a ledger entry follows any other",
        "if (entry.number, entry.previous) != (number, previous):",
        "if entry.number != number:",
        "engine/test_ledger.py",
    ),
    Mutation(
        "sides swapped: test is training",
        'if position < test_share:\n        return "test"',
        'if position < test_share:\n        return "train"',
        "splitting/test_split.py",
    ),
    Mutation(
        "a group on two sides is no flaw",
        "if (sides > 1).any():",
        "if (sides > 2).any():",
        "splitting/test_proof.py",
    ),
    Mutation(
        "the first file of identical pixels leaves, too",
        '(ordered["key"] != first) & ordered["pixel_hash"].notna()',
        'ordered["pixel_hash"].notna() & (first == first)',
        "validation/test_validate.py",
    ),
    Mutation(
        "contradictory labels of one lesion are believed",
        'reasons, counterparts = conflicts(frame, ("lesion_id", "lesion"))\n',
        'reasons, counterparts = conflicts(frame.head(0), ("lesion_id", "lesion"))\n',
        "validation/test_laws_between.py",
    ),
    Mutation(
        "an object is created over one that is there",
        "os.link(partial, self._key_path(key))",
        "os.replace(partial, self._key_path(key))",
        "engine/test_storage.py",
    ),
    Mutation(
        "the threshold misses one more melanoma than asked",
        "return float(scores[needed - 1])",
        "return float(scores[max(needed - 2, 0)])",
        "evaluation/test_scoring.py",
    ),
    Mutation(
        "the temperature is applied the wrong way round",
        "** (1 / temperature)",
        "** temperature",
        "training/test_calibration.py",
    ),
    Mutation(
        "copies beyond the cap",
        "min(wanted[name], copies_per_image * counts[name])",
        "wanted[name]",
        "balancing/test_oversample.py",
    ),
    Mutation(
        "a promotion without its evidence",
        'held = verify(f"{run.uri}/{FOLDER}", asked.model.evidence_sha256)',
        'held = verify(f"{run.uri}/{FOLDER}")',
        "release/test_promotion.py",
    ),
    Mutation(
        "an unanswered promotion approves",
        '"defaults": REJECT',
        '"defaults": APPROVE',
        "dags/test_promotion.py",
    ),
    Mutation(
        "a cell of a table computes",
        'frame[name].map(_guarded, na_action="ignore")',
        "frame[name]",
        "engine/test_spreadsheet.py",
    ),
    Mutation(
        "a step is reused under another configuration",
        "if name in step.config",
        "if name in step.config[:0]",
        "engine/test_reuse.py",
    ),
)


def tree(to: Path) -> Path:
    """A copy of the program and its tests."""
    for folder in ("tasks", "dags", "demo", "infra", "tests", "locks", "containers", "docs"):
        shutil.copytree(ROOT / folder, to / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "Makefile", "README.md"):
        shutil.copy(ROOT / file, to)
    return to


def place_of(mutation: Mutation, root: Path) -> Path:
    places = [
        path
        for folder in ("tasks", "dags")
        for path in (root / folder).rglob("*.py")
        if mutation.text in path.read_text()
    ]
    assert len(places) == 1, f"{mutation.name}: found in {places}"
    assert places[0].read_text().count(mutation.text) == 1
    return places[0]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda each: each.name)
def test_a_defect_is_noticed(mutation: Mutation, tmp_path: Path) -> None:
    root = tree(tmp_path)
    place = place_of(mutation, root)
    place.write_text(place.read_text().replace(mutation.text, mutation.instead))
    tests = [f"tests/{each}" for each in mutation.noticed_by.split()]
    options = ("-q", "-x", "-p", "no:cacheprovider", "--hypothesis-profile=unshrunk")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *tests],
        cwd=root,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout[-3000:]
    told = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert told, done.stdout[-3000:]
    first = told[0].removeprefix("FAILED tests/").partition(" - ")[0]
    found("mutations", {mutation.name: {"noticed by": f"`{first}`"}})
