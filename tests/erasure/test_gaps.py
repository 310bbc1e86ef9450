"""A gap hides no changed figure: what an attacker with the right to write may try."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.__main__ import main
from tasks.engine.run import Run
from tasks.errors import BadInput, Corrupt
from tasks.intake.manifest import parquet_of, to_parquet
from tasks.records.record import sha256
from tasks.release.evidence import Bundle
from tasks.release.gaps import GAPS, Gaps, Hole, Told
from tasks.release.sign import sign
from tasks.release.verify import verify
from tests.support.approvals import ENGINEER
from tests.support.keys import pair_in, use
from tests.support.moved import moved

pytestmark = pytest.mark.slow

TOLD = Told(entry=1, at="2026-11-29T12:00:00+00:00", by="nobody", reason="x", images=1)
PREDICTIONS = "evaluate/predictions.parquet"
PARTS = "split/parts.parquet"


@pytest.fixture
def bundle(registered_run: Run, tmp_path: Path) -> Path:
    store = moved(registered_run.store.uri, tmp_path / "store")
    return Path(store.uri, "runs/test/evidence")


def with_gap(bundle: Path, files: dict[str, bytes], images: int = 1) -> None:
    """What an attacker does: change files, and call it an erasure."""
    named = Bundle(str(bundle)).manifest.files
    holes = {path: Hole(was=named[path].sha256, now=sha256(data)) for path, data in files.items()}
    for path, data in files.items():
        (bundle / path).write_bytes(data)
    told = TOLD.model_copy(update={"images": images})
    (bundle / GAPS).write_bytes(Gaps(erasures=(told,), files=holes).data)


def changed(bundle: Path, path: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> bytes:
    return to_parquet(change(parquet_of((bundle / path).read_bytes())))


def without_thumbnails(rows: int, side: str = "train") -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        test = table.index[table["side"] == side][:rows]
        return table.assign(thumbnail=table["thumbnail"].mask(table.index.isin(test)))

    return change


def test_a_true_gap_verifies(bundle: Path) -> None:
    with_gap(bundle, {PARTS: changed(bundle, PARTS, without_thumbnails(1))})

    assert "1 file lack what was erased" in verify(str(bundle)).gaps


@pytest.mark.parametrize(
    "path",
    [
        *("evaluate/record.json", "gate/record.json", "policy.yaml", "model_card.md"),
        *("ledger/000001.json", "environment.json", "split/record.json", "train/record.json"),
        "oversample/copies.parquet",
    ],
)
def test_what_holds_figures_or_a_verdict_has_no_gap(bundle: Path, path: str) -> None:
    with_gap(bundle, {path: (bundle / path).read_bytes() + b" "})

    with pytest.raises(Corrupt, match="says what no erasure does"):
        verify(str(bundle))


def test_scores_cannot_change_under_a_gap(bundle: Path) -> None:
    def better(table: pd.DataFrame) -> pd.DataFrame:
        found = table["melanoma"].mask(table["label"] == "melanoma", 1.0)
        return table.assign(melanoma=found)

    with_gap(
        bundle,
        {
            PREDICTIONS: changed(bundle, PREDICTIONS, better),
            PARTS: changed(bundle, PARTS, without_thumbnails(1)),
        },
    )
    with pytest.raises(Corrupt, match="a figure does not follow from the predictions"):
        verify(str(bundle))


def test_a_missed_melanoma_cannot_leave_under_a_gap(bundle: Path) -> None:
    missed = json.loads((bundle / "evaluate/record.json").read_text())["missed"][0]["image_ids"]

    def without(table: pd.DataFrame) -> pd.DataFrame:
        return table[~table["image_id"].isin(missed)].reset_index(drop=True)

    files = {path: changed(bundle, path, without) for path in (PREDICTIONS, PARTS)}
    with_gap(bundle, files)
    with pytest.raises(Corrupt):
        verify(str(bundle))


def test_labels_of_the_test_part_cannot_change_under_a_gap(bundle: Path) -> None:
    def nevi(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(label=table["label"].replace("melanoma", "nevus"))

    with_gap(bundle, {PARTS: changed(bundle, PARTS, nevi)})
    with pytest.raises(Corrupt):
        verify(str(bundle))


def test_traits_cannot_change_beyond_what_was_erased(bundle: Path) -> None:
    def without_traits(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(sex=None, site=None)

    with_gap(
        bundle,
        {
            PREDICTIONS: changed(bundle, PREDICTIONS, without_traits),
            PARTS: changed(bundle, PARTS, without_thumbnails(1)),
        },
    )
    with pytest.raises(Corrupt, match="differ by more than was erased"):
        verify(str(bundle))


def test_no_more_images_are_gone_than_were_erased(bundle: Path) -> None:
    with_gap(bundle, {PARTS: changed(bundle, PARTS, without_thumbnails(2))})
    with pytest.raises(Corrupt, match="more images are gone than were erased"):
        verify(str(bundle))


def test_the_pixels_of_a_golden_image_go_with_its_row(bundle: Path) -> None:
    with_gap(bundle, {PARTS: changed(bundle, PARTS, without_thumbnails(47, "test"))}, images=47)
    with pytest.raises(Corrupt, match="a golden image is of those that were erased"):
        verify(str(bundle))


def test_golden_images_go_only_with_their_rows(bundle: Path) -> None:
    answers = json.loads((bundle / "golden/answers.json").read_text())
    pixels = np.load(bundle / "golden/pixels.npy")
    answers["images"] = answers["images"][1:]
    buffer = io.BytesIO()
    np.save(buffer, pixels[1:])
    files = {
        "golden/answers.json": json.dumps(answers).encode(),
        "golden/pixels.npy": buffer.getvalue(),
    }
    with_gap(bundle, files)
    with pytest.raises(Corrupt, match="too few golden images"):
        verify(str(bundle))


@pytest.mark.parametrize("field", ["was", "now"])
def test_a_gap_names_the_bytes_that_were_and_are(bundle: Path, field: str) -> None:
    with_gap(bundle, {PARTS: changed(bundle, PARTS, without_thumbnails(1))})
    gaps = json.loads((bundle / GAPS).read_text())
    gaps["files"][PARTS][field] = sha256(b"other")
    (bundle / GAPS).write_text(json.dumps(gaps))

    with pytest.raises(Corrupt):
        verify(str(bundle))


def test_a_changed_file_without_a_gap_is_still_refused(bundle: Path) -> None:
    (bundle / PARTS).write_bytes(changed(bundle, PARTS, without_thumbnails(1)))

    with pytest.raises(Corrupt, match="not the one that was sealed"):
        verify(str(bundle))


# With a key ---------------------------------------------------------------------------------------


@pytest.fixture
def signed(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle of a store that a person has signed."""
    pair = pair_in(tmp_path / "keys")
    use(monkeypatch, private=pair.private)
    from tasks.engine.storage import open_store

    sign(open_store(str(bundle.parents[2])), ENGINEER, "from before there was a key")
    return bundle


def erasing(bundle: Path) -> int:
    name = json.loads((bundle / "golden/answers.json").read_text())["images"][0]["image_id"]
    store = str(bundle.parents[2])
    return main(["erase", "--store", store, "--image", name, "--reason", "consent withdrawn"])


def test_a_signed_gap_verifies_and_an_attackers_does_not(signed: Path) -> None:
    assert erasing(signed) == 0
    assert verify(str(signed)).signature.startswith("signed by the key")

    gaps = json.loads((signed / GAPS).read_text())
    gaps["erasures"][0]["reason"] = "another reason"
    (signed / GAPS).write_text(json.dumps(gaps))
    with pytest.raises(Corrupt, match="not signed by a key"):
        verify(str(signed))


def test_without_the_key_nothing_of_a_signed_store_is_erased(
    signed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch)
    then = {path: path.read_bytes() for path in signed.rglob("*") if path.is_file()}

    assert erasing(signed) == BadInput.exit_code
    assert "its gap must be signed too" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in signed.rglob("*") if path.is_file()} == then
