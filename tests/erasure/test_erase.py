"""An erased image is nowhere, others are as they were, and what was sealed still verifies."""

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.__main__ import main
from tasks.engine.directory import DirectoryStore
from tasks.engine.erasures import FOLDER, erasures_in
from tasks.engine.run import Run
from tasks.errors import BadInput
from tasks.intake.feature_files import shard_of
from tasks.records.record import sha256
from tasks.release.evidence import Bundle
from tasks.release.verify import verify
from tasks.reporting.report import report
from tests.support.approvals import promoted
from tests.support.deliveries import SMALL, run_of
from tests.support.moved import moved
from tests.support.traces import Trace

pytestmark = pytest.mark.slow

REASON = "consent withdrawn"
FEATURES = "shared/features/*/*"
COMPARISONS = "shared/compared/*/*"
# Who is named where a fact of the past is kept: names stay there, and nothing else of an image.
NAMES_STAY = (
    *("ledger/chain/", "ledger/deliveries/", "runs/test/evidence/", "runs/test/"),
    *("shared/manifests/", "mlflow"),
)


@dataclass(frozen=True)
class Erased:
    """A store before and after three images were erased: one that judged and was missed, a golden
    one, and one that was learned from.

    Attributes:
        before: A copy of the store before.
        store: The store.
        traces: What is known of each image, by id.
        parts: The table of the split before.
    """

    before: Path
    store: DirectoryStore
    traces: dict[str, Trace]
    parts: pd.DataFrame

    @property
    def evidence(self) -> str:
        return f"{self.store.uri}/runs/test/evidence"


def parts_in(store: Path) -> pd.DataFrame:
    (path,) = store.glob("runs/test/split/*/parts.parquet")
    return pd.read_parquet(path)


def trace_of(store: Path, row: pd.Series) -> Trace:
    pixels = np.load(store / row["shard"])[row["index"]]
    return Trace((store / row["key"]).read_bytes(), pixels, row["thumbnail"])


@pytest.fixture(scope="module")
def erased(registered_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Erased:
    folder = tmp_path_factory.mktemp("erased")
    store = moved(registered_run.store.uri, folder / "store")
    report(Run(store, "test", registered_run.config))
    before = Path(moved(store.uri, folder / "before").uri)
    parts = parts_in(before)
    told = json.loads((before / "runs/test/evaluate/record.json").read_text())
    judged = told["missed"][0]["image_ids"][0]
    (path,) = before.glob("runs/test/oversample/*/copies.parquet")
    learned = pd.read_parquet(path)["source_id"].iloc[0]
    answers = json.loads((before / "runs/test/evidence/golden/answers.json").read_text())
    golden = next(e["image_id"] for e in answers["images"] if e["label"] == "nevus")
    rows = parts.set_index("image_id").loc[[judged, golden, learned]]
    traces = {str(name): trace_of(before, row) for name, row in rows.iterrows()}
    for name in traces:
        given = ["erase", "--store", store.uri, "--image", name, "--reason", REASON]
        assert main(given) == 0
    return Erased(before, store, traces, parts)


@pytest.fixture
def after(erased: Erased, tmp_path: Path) -> DirectoryStore:
    return moved(erased.store.uri, tmp_path / "store")


# Gone ---------------------------------------------------------------------------------------------


def test_the_search_finds_an_image_wherever_it_lies(erased: Erased) -> None:
    judged, golden, learned = (trace.in_folder(erased.before) for trace in erased.traces.values())
    found = {(Path(name).name, each) for name, how in judged.items() for each in how}
    kinds = {(Path(name).suffix, each) for name, how in judged.items() for each in how}

    assert {(".jpg", "file"), (".npy", "pixels"), (".parquet", "thumbnail")} <= kinds
    assert ("report.html", "picture") in found
    assert golden["runs/test/evidence/golden/pixels.npy"] == {"pixels"}
    assert any("/saliency/" in name for name in judged)
    assert any(name.startswith("mlflow-artifacts/") for name in judged)
    assert any(name.startswith("shared/shards/") for name in learned)


def test_an_erased_image_is_nowhere(erased: Erased) -> None:
    root = Path(erased.store.uri)

    assert {name: trace.in_folder(root) for name, trace in erased.traces.items()} == {
        name: {} for name in erased.traces
    }


def test_a_copy_that_was_drawn_of_it_is_gone_too(erased: Erased) -> None:
    *_, learned = erased.traces
    (path,) = Path(erased.store.uri).glob("runs/test/oversample/*/copies.parquet")
    copies = pd.read_parquet(path)
    own = copies["source_id"] == learned
    assert own.any()

    for gone, rows in ((True, copies[own]), (False, copies[~own].head(3))):
        for _, row in rows.iterrows():
            pixels = np.load(Path(erased.store.uri, row["shard"]))[row["index"]]
            assert (not pixels.any()) == gone


def test_the_features_that_were_found_in_its_pixels_are_gone(erased: Erased) -> None:
    held = set(erased.parts.set_index("image_id").loc[list(erased.traces), "shard"])
    kept = {file.relative_to(erased.before).as_posix() for file in erased.before.glob(FEATURES)}
    assert {shard_of(key) for key in kept} >= held
    left = {
        file.relative_to(erased.store.uri).as_posix()
        for file in Path(erased.store.uri).glob(FEATURES)
    }
    assert left == {key for key in kept if shard_of(key) not in held}


def test_what_comparing_its_picture_told_is_gone(erased: Erased) -> None:
    assert list(erased.before.glob(COMPARISONS))
    assert not list(Path(erased.store.uri).glob(COMPARISONS))


def test_its_name_stays_only_where_the_past_is_kept(erased: Erased) -> None:
    root = Path(erased.store.uri)
    for name in erased.traces:
        held = {
            path.relative_to(root).as_posix()
            for path in root.rglob("*")
            if path.is_file() and name.encode() in path.read_bytes()
        }
        assert not [key for key in held if not key.startswith(NAMES_STAY)]
        assert not [key for key in held if key.startswith((FOLDER, "erasing/", "raw/"))]


def test_nothing_that_was_told_of_it_is_left_in_a_table(erased: Erased) -> None:
    now = parts_in(Path(erased.store.uri)).set_index("image_id")
    then = erased.parts.set_index("image_id")
    facts = ["age_years", "sex", "site", "lesion_id", "perceptual_hash", "thumbnail", "red"]
    for name in erased.traces:
        assert then.loc[name, ["thumbnail", "red"]].notna().all()
        assert now.loc[name, facts].isna().all()
    sides = [str(table.loc[name, "side"]) for table in (now, then) for name in erased.traces]
    assert sides == ["test", "test", "train"] * 2


# Others -------------------------------------------------------------------------------------------


def test_the_pixels_and_rows_of_others_are_as_they_were(erased: Erased) -> None:
    now = parts_in(Path(erased.store.uri))
    others = ~now["image_id"].isin(list(erased.traces))
    pd.testing.assert_frame_equal(now[others], erased.parts[others])
    for shard, rows in erased.parts[others].groupby("shard"):
        places = rows["index"].to_numpy(int)
        then, there = (
            np.load(root / str(shard)) for root in (erased.before, Path(erased.store.uri))
        )
        assert (then[places] == there[places]).all()


def test_the_files_of_others_are_as_they_were(erased: Erased) -> None:
    raw = erased.before / "raw"
    then = {path.relative_to(raw) for path in raw.rglob("*") if path.is_file()}
    now_at = Path(erased.store.uri, "raw")
    now = {path.relative_to(now_at) for path in now_at.rglob("*") if path.is_file()}

    assert now <= then
    assert {path.stem for path in then - now} == set(erased.traces)
    same = [path for path in now if path.suffix == ".jpg"]
    assert all((raw / path).read_bytes() == (now_at / path).read_bytes() for path in same)


# Sealed -------------------------------------------------------------------------------------------


def test_the_evidence_verifies_and_tells_its_gap(
    erased: Erased, capsys: pytest.CaptureFixture[str]
) -> None:
    then = verify(str(erased.before / "runs/test/evidence"))
    now = verify(erased.evidence, then.manifest_sha256)

    assert (then.gaps, now.manifest_sha256) == ("", then.manifest_sha256)
    assert now.gaps.count(REASON) == 3
    assert main(["verify", "--evidence", erased.evidence]) == 0
    told = capsys.readouterr().out
    assert "Gaps: " in told
    assert REASON in told
    assert not [name for name in erased.traces if name in told]
    assert REASON in Path(erased.store.uri, "runs/test/report.html").read_text()


def test_a_model_with_a_gap_can_still_be_promoted(after: DirectoryStore) -> None:
    assert promoted(Run(after, "test", run_of(after, **SMALL).config)) == 1


def test_the_ledger_says_who_why_and_which_models_learned(erased: Erased) -> None:
    now = erasures_in(erased.store)
    facts = list(now.begun.values())

    assert [fact.reason for fact in facts] == [REASON] * 3
    assert [fact.images for fact in facts] == [(sha256(name.encode()),) for name in erased.traces]
    told = [fact.learned[0] for fact in facts]
    assert [each.sides for each in told] == [{"test": 1}, {"test": 1}, {"train": 1}]
    assert {(each.run, each.version) for each in told} == {("test", 1)}
    assert all(now.open_of("image", sha256(name.encode())) is None for name in erased.traces)


# Again, and not at all ----------------------------------------------------------------------------


def test_a_second_time_says_that_it_is_done(
    erased: Erased, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = len(erasures_in(erased.store).entries)
    name = next(iter(erased.traces))
    given = ["erase", "--store", erased.store.uri, "--image", name, "--reason", "again"]

    assert main(given) == 0
    assert "was erased before" in capsys.readouterr().out
    assert len(erasures_in(erased.store).entries) == entries


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--image", "nobody", "--reason", "x"], "Nothing of this image is in the store"),
        (["--patient", "nobody", "--reason", "x"], "Nothing of this patient is in the store"),
        (["--image", "nobody", "--reason", " "], "needs a person and a reason"),
        (["--reason", "x"], "not clear what to erase"),
        (["--image", "a", "--patient", "b", "--reason", "x"], "not clear what to erase"),
    ],
)
def test_what_cannot_be_erased_is_refused_and_nothing_changes(
    erased: Erased, more: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    then = {entry.key: entry.etag for entry in erased.store.list("")}

    assert main(["erase", "--store", erased.store.uri, *more]) == BadInput.exit_code
    told = capsys.readouterr().err
    for word in (words, "Expected:", "Received:", "Do:"):
        assert word in told
    assert {entry.key: entry.etag for entry in erased.store.list("")} == then


def test_a_run_that_held_it_does_not_go_on(after: DirectoryStore) -> None:
    from tests.support.deliveries import do

    run = Run(after, "test", run_of(after, **SMALL).config)
    (Path(after.uri) / "runs/test/register/record.json").unlink()

    with pytest.raises(BadInput, match="does not go on with register"):
        do(run, "register")


def test_the_gap_is_of_pictures_and_tables_only(erased: Erased) -> None:
    gaps = Bundle(erased.evidence).gaps
    assert gaps

    named = Bundle(erased.evidence).manifest.files
    for path, hole in gaps.files.items():
        data = Path(erased.evidence, path).read_bytes()
        assert (named[path].sha256, sha256(data)) == (hole.was, hole.now)
        assert not path.endswith("record.json")
    assert "golden/pixels.npy" in gaps.files
    golden = np.load(io.BytesIO(Path(erased.evidence, "golden/pixels.npy").read_bytes()))
    assert golden.any(axis=(1, 2, 3)).all()
