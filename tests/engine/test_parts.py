"""The work of a step, divided: any number of parts, done in any order, give what one gives."""

import secrets
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.config import Retraining
from tasks.engine.execute import execute
from tasks.engine.run import Run
from tasks.engine.store import Entry, Store
from tasks.errors import BadInput, Momentary
from tasks.intake.ingest import _packs
from tasks.intake.likeness import joined, near_duplicates
from tasks.parts import BUCKETS, Part, bucket_of
from tasks.pipeline import Division, Step, part_named, parts_of, step_named
from tasks.records.ingested import Ingested
from tasks.records.record import Artifact, Record
from tests.support.deliveries import do, picture, put_lesions, run_of, table_of
from tests.support.records import record_of

pytestmark = pytest.mark.slow

KEYS = st.lists(st.text(min_size=1, max_size=30), max_size=80, unique=True)
NUMBERS = st.integers(1, BUCKETS)

on_a_directory = pytest.mark.parametrize("store_uri", ["directory"], indirect=True)


def all_parts(of: int) -> list[Part]:
    return [Part(number, of) for number in range(1, of + 1)]


def do_part(run: Run, step: str, name: str) -> Any:
    """As ``--part NAME`` does it."""
    row = part_named(step_named(step), name, run.config)
    return execute(row, replace(run, step=row.name, attempt=secrets.token_hex(4)))


# Dealing out ------------------------------------------------------------------------------------


@given(KEYS, NUMBERS)
def test_every_file_is_in_exactly_one_part(keys: list[str], of: int) -> None:
    for key in [*keys, "raw/first/any.jpg"]:
        assert sum(part.holds(key) for part in all_parts(of)) == 1


@given(NUMBERS)
def test_the_parts_share_out_all_buckets_evenly(of: int) -> None:
    dealt = [bucket for part in all_parts(of) for bucket in part.buckets]
    sizes = {len(part.buckets) for part in all_parts(of)}

    assert sorted(dealt) == list(range(BUCKETS))
    assert max(sizes) - min(sizes) <= 1


def test_many_files_fill_the_buckets_evenly() -> None:
    counts = np.bincount([bucket_of(f"raw/first/nevus/ISIC_{i:07d}.jpg") for i in range(16_000)])

    # 1,000 expected in each, standard deviation 31: five of those on either side.
    assert len(counts) == BUCKETS
    assert 845 < counts.min() <= counts.max() < 1155


@given(NUMBERS)
def test_a_part_is_known_by_its_name(of: int) -> None:
    assert [Part.named(str(part)) for part in all_parts(of)] == all_parts(of)


@pytest.mark.parametrize("name", ["", "0-of-4", "5-of-4", "1-of-17", "01-of-4", "1/4", "baseline"])
def test_what_names_no_part_is_none(name: str) -> None:
    assert Part.named(name) is None


@given(KEYS, NUMBERS)
def test_files_are_packed_alike_however_many_parts_there_are(keys: list[str], of: int) -> None:
    entries = [Entry(key, 1, "etag") for key in sorted(keys)]

    def packs(part: Part) -> list[list[str]]:
        mine = [entry for entry in entries if part.holds(entry.key)]
        return [[entry.key for entry in pack] for pack in _packs(mine)]

    whole = packs(Part(1, 1))
    assert sorted(pack for part in all_parts(of) for pack in packs(part)) == sorted(whole)
    assert sorted(key for pack in whole for key in pack) == sorted(keys)


def pictures_with_twins(seed: int, n: int) -> Any:
    """Grey thumbnails, a third of them turned or mirrored twins of others."""
    random = np.random.default_rng(seed)
    smooth = random.normal(size=(n, 8, 8)).repeat(4, axis=1).repeat(4, axis=2)
    planes = np.clip(128 + 40 * smooth, 0, 255).astype(np.uint8)
    for twin in range(0, n - 1, 3):
        turned = np.rot90(planes[twin], int(random.integers(4)))
        planes[twin + 1] = turned.T if random.integers(2) else turned
    return planes


@given(st.integers(0, 2**32 - 1), st.integers(2, 40), NUMBERS)
def test_near_duplicates_found_by_parts_are_those_found_at_once(seed: int, n: int, of: int) -> None:
    planes = pictures_with_twins(seed, n)
    part = np.random.default_rng(seed + 1).integers(of, size=n)

    at_once = near_duplicates(planes)[["first", "second"]].to_numpy().tolist()
    by_parts = joined([near_duplicates(planes, part == number) for number in range(of)])

    assert by_parts[["first", "second"]].to_numpy().tolist() == at_once
    assert {(twin, twin + 1) for twin in range(0, n - 1, 3)} <= set(map(tuple, at_once))


# The steps, in parts ----------------------------------------------------------------------------


def deliver_a_little(store: Store) -> None:
    """Two classes with a picture that cannot be decoded, a near duplicate and a table."""
    put_lesions(store, "melanoma", range(9))
    put_lesions(store, "nevus", range(10, 19))
    store.create("raw/first/Train/nevus/ISIC_0000099.jpg", b"no picture")
    store.create("raw/first/Train/nevus/ISIC_0000031.png", picture(30, 96))
    store.create("raw/first/Train/nevus/ISIC_0000032.png", picture(30, 96) + b" ")
    table = "image_id,lesion_id,diagnosis\nISIC_0000010,L1,nevus\nISIC_0000011,L1,nevus\n"
    store.create("raw/first/labels.csv", table.encode())


def test_the_result_does_not_depend_on_the_number_of_parts(store: Store) -> None:
    """Nor on the order of the parts, nor on whether one is done twice."""
    deliver_a_little(store)
    alone = [do(run_of(store, "alone"), step) for step in ("ingest", "validate", "split")]
    for note in [*store.list("shared/decoded/"), *store.list("shared/reuse/")]:
        store.replace(note.key, b"forgotten")

    run = run_of(store, "four", parts=4)
    for step in ("ingest", "validate"):
        for name in ("3-of-4", "1-of-4", "4-of-4", "1-of-4", "2-of-4"):
            do_part(run, step, name)
        do(run, step)
    do(run, "split")

    for record in alone:
        step = record.provenance.step
        divided = run.record(step)
        assert divided
        assert divided.provenance
        assert divided.provenance.reused_from is None
        assert divided.content_hash == record.content_hash
        names = [str(part) for part in all_parts(4)] if step_named(step).division else []
        assert list(divided.provenance.parts) == names
    assert do(run, "ingest").fetched == alone[0].fetched == 21


@on_a_directory
def test_a_later_delivery_is_ingested_alike_in_any_number_of_parts(store: Store) -> None:
    put_lesions(store, "melanoma", range(8))
    put_lesions(store, "nevus", range(10, 18))
    do(run_of(store, "first", parts=3), "ingest")
    memory = list(store.list("shared/decoded/"))
    put_lesions(store, "nevus", range(20, 25))

    hashes = set()
    for of in (1, 2, 5, 16):
        for learned in set(store.list("shared/decoded/")) - set(memory):
            store.delete(learned.key)
        for note in store.list("shared/reuse/"):
            store.replace(note.key, b"forgotten")
        record = do(run_of(store, f"second-{of}", parts=of), "ingest")
        hashes.add(record.content_hash)
        assert (record.files, record.fetched) == (21, 5)
    assert len(hashes) == 1


@on_a_directory
def test_what_is_delivered_between_two_parts_is_for_the_next_run(store: Store) -> None:
    put_lesions(store, "melanoma", range(12))
    run = run_of(store, "first", parts=2)
    do_part(run, "ingest", "1-of-2")
    put_lesions(store, "nevus", range(20, 32))

    assert do(run, "ingest").files == 12
    later = run_of(store, "second", parts=2)
    assert do(later, "ingest").files == 24
    manifest = table_of(later, record_of(later, Ingested).manifest)
    assert set(manifest["label"]) == {"melanoma", "nevus"}


@on_a_directory
def test_a_run_that_found_no_image_looks_again(store: Store) -> None:
    run = run_of(store, parts=2)
    store.create("raw/first/labels.csv", b"image_id,diagnosis\n")
    with pytest.raises(BadInput, match="nothing to learn from"):
        do(run, "ingest")
    put_lesions(store, "melanoma", range(3))

    assert do(run, "ingest").files == 3


def test_a_part_that_is_not_there_is_refused_with_those_that_are() -> None:
    config = Retraining(parts=2, recipes=("baseline",))

    with pytest.raises(BadInput, match=r"1-of-2 or 2-of-2[\s\S]*'3-of-2'"):
        part_named(step_named("ingest"), "3-of-2", config)
    with pytest.raises(BadInput, match=r"baseline[\s\S]*'balanced'[\s\S]*recipes"):
        part_named(step_named("train"), "balanced", config)
    with pytest.raises(BadInput, match="does not divide"):
        part_named(step_named("split"), "1-of-2", config)
    with pytest.raises(BadInput, match="no such step"):
        step_named("split/1-of-2")


# Parts that are killed, repeated and reused -----------------------------------------------------


class PaintedPart(Record):
    """Record of a part of ``paint``."""

    layer: Artifact


class Painted(Record):
    """Record of ``paint``."""

    layers: tuple[Artifact, ...]


PAINT = Step(
    "paint",
    "",
    module="paint",
    needs=(),
    gives=Painted,
    config=("recipes", "seed"),
    division=Division("recipes", PaintedPart),
)


@dataclass
class Painter:
    """A step over recipes that says what it did, and fails where it is told to."""

    done: list[str] = field(default_factory=list)
    fails: str = ""
    lasts: Callable[[float], None] = lambda seconds: None

    def paint_part(self, run: Run, recipe: str) -> PaintedPart:
        if recipe == self.fails:
            raise Momentary("the brush broke")
        self.done.append(recipe)
        self.lasts(7)
        run.progress(1, 2, f"{recipe}: half")
        said = f"{recipe}, {run.config.seed}, {run.config.recipes}"
        return PaintedPart(layer=run.keep("layer", said.encode()))

    def paint(self, run: Run, parts: tuple[PaintedPart, ...]) -> Painted:
        self.done.append("joined")
        self.lasts(1)
        return Painted(layers=tuple(part.layer for part in parts))


@pytest.fixture
def painter(monkeypatch: pytest.MonkeyPatch) -> Painter:
    painter = Painter()
    module = ModuleType("tasks.paint")
    vars(module).update(paint=painter.paint, paint_part=painter.paint_part)
    monkeypatch.setitem(sys.modules, "tasks.paint", module)
    monkeypatch.setattr("tasks.pipeline.PIPELINE", (PAINT,))
    return painter


def paint(store: Store, name: str, *recipes: str, part: str = "", **config: Any) -> Any:
    run = run_of(store, name, recipes=recipes, **config)
    if part:
        return do_part(run, "paint", part)
    return do(run, "paint")


def test_a_step_does_what_parts_are_missing_and_no_more(store: Store, painter: Painter) -> None:
    paint(store, "first", "baseline", "regularized", "balanced", part="regularized")

    record = paint(store, "first", "baseline", "regularized", "balanced")

    assert painter.done == ["regularized", "baseline", "balanced", "joined"]
    layers = [store.read(layer.key).decode().partition(",")[0] for layer in record.layers]
    assert layers == ["baseline", "regularized", "balanced"]  # as the configuration names them


def test_a_part_that_fails_costs_no_other_part(store: Store, painter: Painter) -> None:
    painter.fails = "regularized"
    with pytest.raises(Momentary):
        paint(store, "first", "baseline", "regularized")
    painter.fails = ""

    paint(store, "first", "baseline", "regularized")

    assert painter.done == ["baseline", "regularized", "joined"]


@on_a_directory
def test_a_recipe_is_reused_beside_any_others_but_not_after_a_change(
    store: Store, painter: Painter
) -> None:
    paint(store, "first", "baseline", "balanced")
    paint(store, "second", "regularized", "balanced")
    assert painter.done == ["baseline", "balanced", "joined", "regularized", "joined"]
    reused = run_of(store, "second").store.read("runs/second/paint/balanced/record.json")
    assert b'"reused_from": "first"' in reused

    painter.done.clear()
    paint(store, "third", "regularized", "balanced", seed=21)
    assert painter.done == ["regularized", "balanced", "joined"]


@on_a_directory
def test_a_part_sees_no_name_but_its_own(store: Store, painter: Painter) -> None:
    record = paint(store, "first", "baseline", "balanced")

    assert [store.read(layer.key).decode() for layer in record.layers] == [
        "baseline, 20, ('baseline',)",
        "balanced, 20, ('balanced',)",
    ]


@on_a_directory
def test_the_progress_of_parts_adds_up(store: Store, painter: Painter) -> None:
    seen: list[tuple[int, int]] = []
    run = run_of(store, recipes=("baseline", "balanced"))

    execute(PAINT, replace(run, step="paint", watch=lambda now: seen.append((now.done, now.total))))

    assert seen == [(1, 4), (3, 4)]
    assert b'"done": 1, "total": 2' in store.read("runs/test/paint/balanced/progress.json")


@on_a_directory
@pytest.mark.parametrize("apart", ["", "baseline"])
def test_the_seconds_of_parts_are_told_once_wherever_they_were_done(
    store: Store, painter: Painter, monkeypatch: pytest.MonkeyPatch, apart: str
) -> None:
    """Each part takes 7 s and the joining 1 s, done here or by another machine before."""
    clock = [0.0]
    monkeypatch.setattr("tasks.engine.execute.time", SimpleNamespace(monotonic=lambda: clock[0]))
    painter.lasts = lambda seconds: clock.__setitem__(0, clock[0] + seconds)
    if apart:
        paint(store, "first", "baseline", "balanced", part=apart)

    first = paint(store, "first", "baseline", "balanced").provenance
    assert (first.seconds, first.seconds_of_parts, first.seconds_in_all) == (1, 14, 15)
    assert list(first.parts) == ["baseline", "balanced"]

    again = paint(store, "second", "baseline", "balanced").provenance
    assert (again.reused_from, again.seconds_in_all) == ("first", 0)  # what it took this run


@on_a_directory
def test_a_part_committed_under_another_configuration_is_never_joined(
    store: Store, painter: Painter
) -> None:
    paint(store, "first", "baseline", "balanced", part="baseline")

    with pytest.raises(BadInput, match="changed since: seed"):
        paint(store, "first", "baseline", "balanced", seed=21)
    assert "joined" not in painter.done


def test_every_step_that_divides_has_the_parts_that_the_configuration_says() -> None:
    config = Retraining(parts=3, recipes=("balanced", "baseline"))

    named = {step: [row.name for row in parts_of(step_named(step), config)] for step in DIVIDED}

    assert named == {
        "ingest": ["ingest/1-of-3", "ingest/2-of-3", "ingest/3-of-3"],
        "validate": ["validate/1-of-3", "validate/2-of-3", "validate/3-of-3"],
        "train": ["train/balanced", "train/baseline"],
    }
    for rows in named.values():
        for name in rows:
            division = step_named(name.partition("/")[0]).division
            assert division
            assert step_named(name).gives is division.gives
            assert parts_of(step_named(name), config) == ()


DIVIDED = ("ingest", "validate", "train")
