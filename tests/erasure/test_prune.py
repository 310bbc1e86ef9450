"""What nothing needs goes, and what is kept still works."""

import re
import shutil
from pathlib import Path

import pytest

from tasks.__main__ import main
from tasks.engine.directory import DirectoryStore
from tasks.engine.run import Run
from tasks.erasure.prune import planned
from tasks.errors import BadInput
from tasks.records.ingested import Ingested
from tasks.records.trained import Trained
from tasks.registry.promotions import Promotion, append, promotions_in
from tasks.release.rollback import rollback
from tasks.release.verify import verify
from tests.support.approvals import PHYSICIAN, question_about
from tests.support.deliveries import BEFORE_REGISTER, OF_TWO, do, folder_of, put_lesions, run_of
from tests.support.moved import forget, moved

pytestmark = pytest.mark.slow

LONG_AGO = "2025-01-01T00:00:00+00:00"


def age(store: Path, run: str) -> None:
    """Let a run and its steps be of long ago."""
    for path in (*store.glob(f"runs/{run}/*/record.json"), store / f"runs/{run}/started.json"):
        text = re.sub(r'("(?:at|committed_at)": ?)"[^"]*"', rf'\1"{LONG_AGO}"', path.read_text())
        path.write_text(text)


@pytest.fixture(scope="module")
def promoted_two(two_challengers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose second model is the champion, after the first. Nobody needs the run ``idle``,
    but the champion's weights lie there, as if its training had been reused."""
    store = moved(str(two_challengers), tmp_path_factory.mktemp("prune") / "store")
    root = Path(store.uri)
    for name, seed in (("first", 2), ("second", 20)):
        put_into_use(store, run_of(store, name, **OF_TWO | {"seed": seed}))
    shutil.copytree(root / "runs/second", root / "runs/idle")
    for path in (root / "runs/idle").glob("**/record.json"):
        if "evidence" not in path.parts:
            path.write_text(path.read_text().replace("runs/second/", "runs/idle/"))
    (weights,) = root.glob("runs/second/train/*/*/*.keras")
    for step in ("train", "train/baseline", "evaluate"):
        path = root / f"runs/second/{step}/record.json"
        there = weights.relative_to(root).as_posix()
        path.write_text(path.read_text().replace(there, there.replace("second", "idle", 1)))
    weights.unlink()
    for path in (root / "runs").iterdir():
        age(root, path.name)
    forget()
    return root


def put_into_use(store: DirectoryStore, run: Run) -> None:
    """Write a promotion into the ledger; what `promote` checks before is not asked here."""
    asked = question_about(run).model_copy(update={"id": run.name})
    append(store, run.name, lambda now: asked)
    append(
        store,
        run.name,
        lambda now: Promotion(question=asked.id, before=now.champion, after=asked.model, checks=()),
    )


def pruned(store: Path, *more: str) -> int:
    return main(["prune", "--store", str(store), *more])


def test_a_dry_run_says_what_would_go_and_why_the_rest_stays(
    promoted_two: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    then = folder_of(promoted_two)

    assert pruned(promoted_two) == 0
    told = capsys.readouterr().out
    assert "Kept: run second: the champion" in told
    assert "Kept: run first: an earlier champion, to roll back to." in told
    assert "Not needed: run idle." in told
    assert re.search(r"Would go: tables, \d+ objects, \d\.\d MB", told)
    assert "Nothing was removed. Give --yes" in told
    assert folder_of(promoted_two) == then


def test_what_a_kept_run_names_stays_wherever_it_lies(promoted_two: Path) -> None:
    plan = planned(DirectoryStore(promoted_two), 7)
    gone = {entry.key for entry in plan.gone}

    assert set(plan.kept) == {"first", "second"}
    assert [key for key in gone if key.startswith("runs/idle/evaluate/")]
    assert [key for key in gone if key.endswith(".keras")] == []


def test_after_the_removal_all_that_is_kept_works(promoted_two: Path) -> None:
    """The last test of this store: it removes, rolls back, and trains."""
    then = folder_of(promoted_two)
    store = DirectoryStore(promoted_two)

    assert pruned(promoted_two, "--yes") == 0

    gone = then - folder_of(promoted_two)
    assert {Path(path).suffix for path in gone} >= {".png", ".parquet", ".csv"}
    assert all(path.startswith(("runs/idle/", "shared/")) for path in gone)
    assert not [path for path in gone if path.startswith("shared/shards/")]
    assert not [path for path in gone if path.endswith(".json") and "/reuse/" not in path]
    assert not [path for path in gone if "/evidence/" in path]
    for run in ("first", "second", "idle"):
        assert verify(str(promoted_two / f"runs/{run}/evidence")).decision == "pass"

    rollback(store, 1, PHYSICIAN, "It finds more.")
    champion = promotions_in(store).champion
    assert champion
    assert champion.version == 1

    trained = do(run_of(store, "third", seed=3, **OF_TWO), *BEFORE_REGISTER[:-2])
    assert isinstance(trained, Trained)


def test_while_a_run_is_at_work_nothing_that_runs_share_goes(
    two_challengers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(two_challengers, tmp_path / "store"))
    (copy / "shared/shards/unknown.npy").write_bytes(b"of a step at work")
    (copy / "runs/second/register/record.json").unlink()

    assert pruned(copy, "--yes") == 0
    assert (copy / "shared/shards/unknown.npy").exists()
    assert "what runs share stays, as second may be at work" in capsys.readouterr().out
    for run in ("first", "second"):
        age(copy, run)
    assert pruned(copy, "--yes") == 0
    assert not (copy / "shared/shards/unknown.npy").exists()
    assert "not finished" in capsys.readouterr().out


def test_pixels_of_files_that_lie_there_stay_and_others_go(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    put_lesions(store, "nevus", range(3))
    do(run_of(store, "first"), "ingest")
    shards = list((tmp_path / "store/shared/shards").iterdir())
    shutil.rmtree(tmp_path / "store/runs/first")

    assert pruned(tmp_path / "store", "--yes") == 0
    assert shards
    assert all(shard.exists() for shard in shards)
    second = do(run_of(store, "second"), "ingest")
    assert isinstance(second, Ingested)
    assert second.fetched == 0

    shutil.rmtree(tmp_path / "store/runs/second")
    shutil.rmtree(tmp_path / "store/raw")
    assert pruned(tmp_path / "store", "--yes") == 0
    assert not any(shard.exists() for shard in shards)


def test_nothing_is_pruned_while_an_erasure_is_open(
    two_challengers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tasks.engine.erasures import Erasing
    from tasks.engine.erasures import append as append_erasure

    copy = DirectoryStore(Path(shutil.copytree(two_challengers, tmp_path / "store")))
    begun = Erasing(
        by=PHYSICIAN, reason="x", asked="image", asked_sha256="0", images=(), files=(), pixels=(),
        runs=(), changes=(), learned=(),
    )  # fmt: skip
    append_erasure(copy, lambda now: begun)

    assert pruned(Path(copy.uri), "--yes") == BadInput.exit_code
    assert "an erasure is not complete" in capsys.readouterr().err
