"""The evidence of a run: whole, the same on every store, and readable by a person."""

import json
from pathlib import Path

import pytest

from tasks.__main__ import main
from tasks.engine.environment import distributions, plain
from tasks.engine.run import Run
from tasks.engine.store import Store
from tasks.errors import BadInput, Corrupt, Halt
from tasks.records.record import sha256
from tasks.records.registered import Registered
from tasks.registry.versions import mlflow_client
from tasks.release.card import card_as_html
from tasks.release.evidence import MANIFEST, gathered, keep_evidence
from tasks.release.verify import verify
from tests.support.bundles import paths
from tests.support.deliveries import BEFORE_REGISTER as BEFORE
from tests.support.deliveries import do

pytestmark = pytest.mark.slow


# What it holds ----------------------------------------------------------------------------------


def test_the_evidence_of_a_run_holds_also_far_from_its_store(run: Run, copied: Path) -> None:
    registered = run.record("register")
    assert isinstance(registered, Registered)
    verified = verify(str(copied), registered.evidence.sha256)

    assert verified.run == run.name
    assert verified.decision == "pass"
    assert verified.model_sha256 == registered.model_sha256
    assert len(verified.held) == 23
    assert "no champion answered, and none is compared with" in verified.held


def test_a_bundle_holds_what_a_person_needs_to_check_a_model(sealed: Path) -> None:
    held = set(paths(sealed))

    assert held >= {f"{step}/record.json" for step in BEFORE}
    assert held >= {
        *("model_card.md", "model_card.html", "policy.yaml", "environment.json", "lock.txt"),
        *("sbom.cdx.json", "validate/quarantine.csv", "split/proof.csv", "split/parts.parquet"),
        *("evaluate/predictions.parquet", "validate/data_docs/index.html", MANIFEST),
    }
    pixels_or_weights = {path for path in held if path.endswith((".keras", ".npy"))}
    assert pixels_or_weights == {"golden/pixels.npy"}  # of a few test images, and no other


def test_the_bill_of_materials_is_cyclonedx_of_what_is_installed(sealed: Path) -> None:
    listed = json.loads((sealed / "sbom.cdx.json").read_text())

    assert listed["bomFormat"] == "CycloneDX"
    assert {plain(each["name"]): each["version"] for each in listed["components"]} == (
        distributions()
    )


def test_two_attempts_gather_the_same_bytes(run: Run, sealed: Path) -> None:
    """So that neither spoils what the other seals."""
    again = dict(gathered(run))

    assert sorted([*again, MANIFEST]) == paths(sealed)
    assert [path for path, data in again.items() if (sealed / path).read_bytes() != data] == []


def test_a_bundle_is_sealed_once(run: Run, sealed: Path) -> None:
    before = {path: (sealed / path).stat().st_mtime_ns for path in paths(sealed)}
    artifact = keep_evidence(run)

    assert artifact.sha256 == sha256((sealed / MANIFEST).read_bytes())
    assert {path: (sealed / path).stat().st_mtime_ns for path in paths(sealed)} == before


def test_what_a_kill_left_half_written_in_a_bundle_is_swept_and_nothing_else(
    run: Run, sealed: Path
) -> None:
    left = sealed / "split" / ".partial-0123456789abcdef"
    hidden = sealed / "split" / ".partial-of-somebody"
    left.write_bytes(b"half")
    with pytest.raises(Corrupt, match="was added"):
        verify(str(sealed))
    keep_evidence(run)
    assert not left.exists()
    assert verify(str(sealed)).held
    hidden.write_bytes(b"no writer of ours names a file so")
    try:
        keep_evidence(run)
        with pytest.raises(Corrupt, match="was added"):
            verify(str(sealed))
    finally:
        hidden.unlink()


def test_a_bundle_on_any_store_is_sealed_alike_and_holds(
    run: Run, sealed: Path, store: Store
) -> None:
    own = f"runs/{run.name}/evidence/"
    for entry in run.store.list(""):
        if not entry.key.startswith(own):
            store.create(entry.key, run.store.read(entry.key))
    artifact = keep_evidence(Run(store, run.name, run.config))

    assert artifact.sha256 == sha256((sealed / MANIFEST).read_bytes())
    held = verify(f"{store.uri}/{own.rstrip('/')}", artifact.sha256)
    assert held.held == verify(str(sealed)).held
    store.replace(f"{own}policy.yaml", store.read(f"{own}policy.yaml") + b" ")
    with pytest.raises(Corrupt, match=r"policy\.yaml"):
        verify(f"{store.uri}/{own.rstrip('/')}")


def test_a_refused_model_leaves_evidence_too(run: Run) -> None:
    refused = Run(run.store, "refused", run.config.model_copy(update={"policy": "synthetic"}))
    do(refused, *BEFORE)
    with pytest.raises(Halt, match="evidence is in"):
        do(refused, "register")

    assert verify(f"{refused.uri}/evidence").decision != "pass"  # one epoch is not enough


def test_the_registered_version_names_its_evidence(run: Run, sealed: Path) -> None:
    with mlflow_client(run.store) as client:
        tags = client.get_model_version("melanoma_classifier", "1").tags

    assert tags["evidence"] == str(sealed)
    assert tags["evidence_sha256"] == sha256((sealed / MANIFEST).read_bytes())


def test_a_run_that_is_unfinished_has_no_evidence(run: Run) -> None:
    with pytest.raises(BadInput, match="needs the record of every step"):
        keep_evidence(Run(run.store, "unfinished", run.config))
    with pytest.raises(BadInput, match="no evidence here"):
        verify(f"{run.store.uri}/runs/unfinished/evidence")


# For people -------------------------------------------------------------------------------------


def test_the_command_line_says_what_holds_and_what_does_not(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", "--evidence", str(copied), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["decision"] == "pass"
    (copied / "policy.yaml").write_text("rules: []")
    assert main(["verify", "--evidence", str(copied)]) == BadInput.exit_code
    said = capsys.readouterr().err
    assert "policy.yaml" in said
    assert "Traceback" not in said


def test_the_card_tells_the_verdict_the_figures_and_the_limits(sealed: Path) -> None:
    card = (sealed / "model_card.md").read_text()

    for told in (
        "SYNTHETIC",
        "Verdict of the gate: pass",
        "## Limits",
        "melanoma sensitivity",
        "trained with tensorflow on 1 cpu",
    ):
        assert told in card
    assert "{{" not in card


@pytest.mark.parametrize(
    "hostile",
    ["<script>alert(1)</script>", "![x](http://example.com/x.png)", "[x](javascript:alert(1))",
     "<http://example.com>", "<img src=x onerror=alert(1)>"],
)  # fmt: skip
def test_hostile_text_in_a_card_is_shown_and_not_run(hostile: str) -> None:
    page = card_as_html(f"A lesion of source {hostile}", "first")

    for tag in ("<script", "<img", "<a ", "href"):
        assert tag not in page
    assert "default-src 'none'" in page
