"""What verify catches: changed bytes, odd files, and bundles that a forger sealed anew."""

import io
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.engine.directory import DirectoryStore
from tasks.engine.run import Run
from tasks.engine.spreadsheet import csv_of
from tasks.errors import BadInput, Corrupt
from tasks.records.record import sha256
from tasks.records.split import Split
from tasks.registry.versions import mlflow_client
from tasks.release.evidence import MANIFEST, Bundle, keep_evidence
from tasks.release.promote import promote
from tasks.release.verify import verify
from tasks.splitting.sides import flaw_in, register_of
from tests.support.approvals import approved, promoted
from tests.support.bundles import changed_record, linked_records, paths, reseal
from tests.support.deliveries import BEFORE_REGISTER as BEFORE
from tests.support.deliveries import delivered, do, run_of

pytestmark = pytest.mark.slow


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_change_of_any_byte_of_any_file_is_caught(sealed: Path, data: st.DataObject) -> None:
    path = sealed / data.draw(st.sampled_from(paths(sealed)))
    true = path.read_bytes()
    position = data.draw(st.integers(0, len(true)))  # at the end, one more
    byte = data.draw(st.integers(0, 255))
    false = true[:position] + bytes([byte]) + true[position + 1 :]
    if false == true:
        return
    path.write_bytes(false)
    try:
        with pytest.raises(Corrupt):
            verify(str(sealed))
    finally:
        path.write_bytes(true)


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_a_file_that_is_gone_or_new_is_caught(sealed: Path, data: st.DataObject) -> None:
    there = [path for path in paths(sealed) if path != MANIFEST]
    path = sealed / data.draw(st.sampled_from(there))
    kept = path.read_bytes()
    path.unlink()
    try:
        with pytest.raises(Corrupt, match="is missing"):
            verify(str(sealed))
    finally:
        path.write_bytes(kept)
    name = data.draw(st.text("abcdefgh.", min_size=1, max_size=8).map(lambda text: f"x{text}"))
    added = path.with_name(name)
    added.write_bytes(b"")
    try:
        with pytest.raises(Corrupt, match="was added"):
            verify(str(sealed))
    finally:
        added.unlink()


def link(path: Path) -> None:
    path.symlink_to("/etc/hostname")


def link_to_a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def link_to_a_folder(path: Path) -> None:
    path.symlink_to("/")


ODD = [link, link_to_a_device, link_to_a_folder, os.mkfifo]


@pytest.mark.parametrize("make", ODD, ids=lambda each: each.__name__)
@pytest.mark.parametrize("place", ["policy.yaml", MANIFEST, "added", "gate/.hidden"])
def test_what_is_no_plain_file_is_refused_before_it_is_read(
    copied: Path, make: Callable[[Path], None], place: str
) -> None:
    """A link may leave the bundle; a pipe and a device never end."""
    path = copied / place
    path.unlink(missing_ok=True)
    make(path)
    with pytest.raises(Corrupt, match="not made of plain files"):
        verify(str(copied))


@pytest.mark.parametrize("place", [".partial/more", ".hidden", "gate/.hidden/more"])
def test_a_file_in_a_hidden_folder_is_caught_too(copied: Path, place: str) -> None:
    path = copied / place
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"more")
    with pytest.raises(Corrupt, match="was added"):
        verify(str(copied))


def test_a_device_is_no_bundle() -> None:
    with pytest.raises(BadInput, match="no evidence here"):
        verify("/dev/zero")


def test_a_policy_that_unfolds_without_end_is_refused_though_sealed_anew(copied: Path) -> None:
    bomb = b"a: &a [x]\nb: &b [*a, *a, *a]\nc: [*b, *b, *b]\n"

    def judged_by_it(content: Any) -> None:
        content["policy"]["sha256"] = sha256(bomb)

    record = changed_record(copied, "gate", judged_by_it)
    reseal(copied, {"policy.yaml": bomb, "gate/record.json": record})
    with pytest.raises(BadInput, match="alias"):
        verify(str(copied))


def test_tables_and_json_that_are_made_up_are_named_and_no_traceback(copied: Path) -> None:
    reseal(copied, {"environment.json": b"[" * 100_000})
    with pytest.raises(Corrupt, match="cannot be read"):
        verify(str(copied))


@pytest.mark.parametrize("name", ["model_card.md", "model_card.html"])
@pytest.mark.parametrize("by_another_version", [False, True])
def test_a_card_that_tells_another_verdict_is_caught_though_sealed_anew(
    copied: Path, name: str, by_another_version: bool
) -> None:
    changes = {}
    card = (copied / name).read_text()
    assert "Verdict of the gate: pass" in card
    changes[name] = card.replace("Verdict of the gate: pass", "Verdict of the gate: fail").encode()
    if by_another_version:
        told = json.loads((copied / "environment.json").read_text()) | {"card": "another"}
        changes["environment.json"] = json.dumps(told).encode()
    reseal(copied, changes)
    with pytest.raises(Corrupt, match=f"{name} (tells another verdict|is another model's)"):
        verify(str(copied))


def test_a_card_that_tells_another_figure_is_caught_though_sealed_anew(copied: Path) -> None:
    card = (copied / "model_card.md").read_text()
    line = next(line for line in card.splitlines() if line.startswith("| melanoma sensitivity"))
    reseal(copied, {"model_card.md": card.replace(line, "| melanoma sensitivity | all |").encode()})
    with pytest.raises(Corrupt, match="another model's"):
        verify(str(copied))


def test_a_true_card_of_another_version_holds(copied: Path) -> None:
    told = json.loads((copied / "environment.json").read_text()) | {"card": "another"}
    reseal(copied, {"environment.json": json.dumps(told).encode()})
    assert "the model card tells the verdict and what each rule said" in verify(str(copied)).held


def test_a_ledger_that_was_cut_or_changed_is_caught_though_sealed_anew(copied: Path) -> None:
    entries = sorted((copied / "ledger").glob("*.json"))
    sound = entries[-1].read_bytes()
    entries[-1].unlink()
    reseal(copied, {})
    with pytest.raises(Corrupt, match="ledger does not hold what"):
        verify(str(copied))
    reseal(copied, {f"ledger/{entries[-1].name}": sound.replace(b"evaluation", b"evasion", 1)})
    with pytest.raises(Corrupt, match="ledger is damaged"):
        verify(str(copied))


def test_an_image_put_elsewhere_by_an_id_that_it_never_showed_is_caught(copied: Path) -> None:
    """Whoever may choose what decides may choose the test part."""
    split = Bundle(str(copied)).record("split")
    assert isinstance(split, Split)
    proof = csv_of((copied / "split/proof.csv").read_bytes())
    register = register_of(Bundle(str(copied)).ledger())
    proof.loc[0, "decided_by"] = "chosen"
    assert "which it never showed" in str(flaw_in(proof, None, register))
    assert flaw_in(proof, None) is None


def test_a_verdict_that_the_figures_do_not_bear_is_caught_though_sealed_anew(copied: Path) -> None:
    def fail_to_pass(content: Any) -> None:
        content["decision"] = "fail"

    reseal(copied, {"gate/record.json": changed_record(copied, "gate", fail_to_pass)})
    with pytest.raises(Corrupt, match="verdict does not follow"):
        verify(str(copied))


def boast(content: Any) -> None:
    content["reason"] = "All rules hold by far."


def hush(content: Any) -> None:
    content["warnings"] = [*content["warnings"], "Nothing to warn of."]


@pytest.mark.parametrize("alter", [boast, hush])
def test_a_verdict_told_otherwise_is_caught_though_sealed_anew(
    copied: Path, alter: Callable[[Any], None]
) -> None:
    reseal(copied, {"gate/record.json": changed_record(copied, "gate", alter)})
    with pytest.raises(Corrupt, match="told otherwise than it was reached"):
        verify(str(copied))


def test_a_figure_that_the_predictions_do_not_bear_is_caught_though_sealed_anew(
    copied: Path,
) -> None:
    def embellish(content: Any) -> None:
        content["figures"]["auc"]["value"] = 0.99

    reseal(copied, linked_records(copied, {"evaluate": embellish}))
    with pytest.raises(Corrupt, match="a figure does not follow from the predictions") as caught:
        verify(str(copied))
    assert "auc.value" in caught.value.expected


@pytest.fixture(scope="module")
def beside_a_champion(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The evidence of a model that was judged beside the champion, which another seed gave."""
    store = delivered(drawn, tmp_path_factory.mktemp("beside") / "store")
    small: dict[str, Any] = {"epochs": 1, "minimum_groups": 4, "recipes": ("baseline",)}
    first = run_of(store, "first", policy="smoke", **small)
    do(first, *BEFORE, "register")
    promoted(first)
    second = run_of(store, "second", policy="smoke", seed=2, **small)
    do(second, *BEFORE)
    keep_evidence(second)
    return Path(store.uri, "runs", "second", "evidence")


def test_a_true_comparison_with_a_champion_holds(beside_a_champion: Path) -> None:
    evaluated = json.loads((beside_a_champion / "evaluate/record.json").read_text())

    assert evaluated["champion"]["comparison"]["sensitivity"]["n"] > 0
    held = verify(str(beside_a_champion)).held
    assert [said for said in held if "comparison with the champion follows" in said]


def lose_less(content: Any) -> None:
    compared = content["champion"]["comparison"]
    compared["lost"] = [*compared["lost"], "ISIC_0000000"][1:]


def find_more(content: Any) -> None:
    content["champion"]["comparison"]["challenger_only"] += 1


def separate_better(content: Any) -> None:
    content["champion"]["comparison"]["auc_difference"]["lower"] += 0.1


def keep_silent(content: Any) -> None:
    content["champion"] = None


@pytest.mark.parametrize(
    ("alter", "place"),
    [
        (lose_less, "lost"),
        (find_more, "challenger_only"),
        (separate_better, "auc_difference.lower"),
        (keep_silent, "a comparison"),
    ],
)
def test_an_altered_comparison_is_named_though_sealed_anew(
    beside_a_champion: Path, tmp_path: Path, alter: Callable[[Any], None], place: str
) -> None:
    bundle = Path(shutil.copytree(beside_a_champion, tmp_path / "altered"))
    reseal(bundle, linked_records(bundle, {"evaluate": alter}))
    with pytest.raises(Corrupt, match="comparison with the champion") as caught:
        verify(str(bundle))
    assert place in caught.value.expected


def test_a_champion_that_was_never_asked_is_named_though_sealed_anew(copied: Path) -> None:
    def praise(content: Any) -> None:
        content["missed"] = [each | {"by_champion": True} for each in content["missed"]]

    assert json.loads((copied / "evaluate/record.json").read_text())["missed"]
    reseal(copied, linked_records(copied, {"evaluate": praise}))
    with pytest.raises(Corrupt, match="whether the champion misses"):
        verify(str(copied))


def test_a_record_made_from_another_is_caught(copied: Path) -> None:
    def embellish(content: Any) -> None:
        content["figures"]["auc"]["value"] = 0.99

    reseal(copied, {"evaluate/record.json": changed_record(copied, "evaluate", embellish)})
    with pytest.raises(Corrupt, match="gate was not made from this record of evaluate"):
        verify(str(copied))


def test_a_table_that_its_record_does_not_vouch_for_is_caught(copied: Path) -> None:
    path = "split/parts.parquet"
    parts = pd.read_parquet(copied / path)
    parts.loc[parts["side"] == "train", "side"] = "test"
    buffer = io.BytesIO()
    parts.to_parquet(buffer)
    reseal(copied, {path: buffer.getvalue()})
    with pytest.raises(Corrupt, match="not what the record of split vouches for"):
        verify(str(copied))


@pytest.mark.parametrize("column", ["label", "lesion", "melanoma", "image_id"])
def test_a_table_that_lacks_a_column_is_named_though_sealed_anew(copied: Path, column: str) -> None:
    path = "evaluate/predictions.parquet"
    buffer = io.BytesIO()
    pd.read_parquet(copied / path).drop(columns=column).to_parquet(buffer)

    def vouch(content: Any) -> None:
        content["predictions"]["sha256"] = sha256(buffer.getvalue())
        content["predictions"]["size_bytes"] = len(buffer.getvalue())

    changes = linked_records(copied, {"evaluate": vouch})
    reseal(copied, changes | {path: buffer.getvalue()})
    with pytest.raises(Corrupt, match="does not hold") as caught:
        verify(str(copied))
    assert column in caught.value.received


def test_a_bundle_forged_whole_is_not_the_one_that_was_registered(copied: Path) -> None:
    registered = sha256((copied / MANIFEST).read_bytes())
    reseal(copied, {"model_card.md": b"The best model ever.\n"})
    with pytest.raises(Corrupt, match="not the bundle that was registered"):
        verify(str(copied), registered)


def test_nothing_is_promoted_whose_evidence_does_not_hold(run: Run, tmp_path: Path) -> None:
    run = replace(run, store=DirectoryStore(shutil.copytree(run.store.uri, tmp_path / "store")))
    sealed = tmp_path / "store" / "runs" / run.name / "evidence"
    approved(run)
    card = sealed / "model_card.md"
    true = card.read_bytes()
    card.write_bytes(true + b" ")
    try:
        with pytest.raises(Corrupt, match="not the one that was sealed"):
            promote(run)
        with mlflow_client(run.store) as client:
            aliases = client.get_registered_model("melanoma_classifier").aliases
            assert "champion" not in aliases
            client.set_model_version_tag("melanoma_classifier", "1", "evidence_sha256", "0" * 64)
        card.write_bytes(true)
        with pytest.raises(Corrupt, match="is not of this evidence"):
            promote(run)
    finally:
        card.write_bytes(true)
        with mlflow_client(run.store) as client:
            right = sha256((sealed / MANIFEST).read_bytes())
            client.set_model_version_tag("melanoma_classifier", "1", "evidence_sha256", right)
    assert promote(run) == 1
