"""The traces that the app's answers leave."""

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from pydantic import ValidationError

from tasks.engine.store import Store
from tasks.errors import BadInput, Corrupt
from tasks.evaluation.descriptor import descriptors_of
from tasks.evaluation.traces import (
    ACQUISITION,
    FOLDER,
    Trace,
    acquisition_of,
    descriptors_in,
    new_lesion,
    read,
    traces_of,
    write,
)
from tasks.intake.images import Decoded
from tests.support.skin import lesion
from tests.support.stores import keys

NOON = datetime(2026, 11, 30, 12, 47, 13, tzinfo=UTC)
SHA = "a" * 64


def decoded(seed: int) -> Decoded:
    pixels = np.asarray(lesion(seed))
    name = f"hash {seed}"
    return Decoded(
        pixels, 600, 450, "RGB", "JPEG", name, b"", (0, 0, 0), "quality 90, 4:2:0", "NIKON"
    )


def answered(now: datetime = NOON, seeds: tuple[int, ...] = (1, 2)) -> list[Trace]:
    return traces_of(
        [decoded(seed) for seed in seeds],
        now=now,
        lesion=new_lesion(),
        version=3,
        model_sha256=SHA,
        probabilities={"melanoma": 0.2, "nevus": 0.7, "basal cell carcinoma": 0.1},
        decision="not melanoma",
        refused=[()] * len(seeds),
    )


def refused(now: datetime = NOON) -> list[Trace]:
    return traces_of(
        [decoded(3)],
        now=now,
        lesion=new_lesion(),
        version=3,
        model_sha256=SHA,
        probabilities={},
        decision="cannot judge",
        refused=[("too dark", "blurred")],
    )


def test_what_was_written_is_read_again(store: Store) -> None:
    written = [*answered(), *refused(NOON + timedelta(hours=1))]
    made = write(store, written)
    frame = read(store, NOON - timedelta(hours=1), NOON + timedelta(hours=2))

    assert len(made) == 2  # hours
    assert made == keys(store, FOLDER)
    assert sorted(made)[0].startswith("monitoring/traces/2026-11-30/12-")
    assert list(frame["hour"]) == ["2026-11-30T12", "2026-11-30T12", "2026-11-30T13"]
    assert frame["lesion"].nunique() == 2
    assert list(frame["answered"])[:2] == ["nevus", "nevus"]
    assert frame["answered"].isna().tolist() == [False, False, True]
    assert frame["melanoma_probability"].isna().tolist() == [False, False, True]
    assert [list(each) for each in frame["refused"]] == [[], [], ["too dark", "blurred"]]
    pixels = np.stack([np.asarray(lesion(seed)) for seed in (1, 2, 3)])
    assert (descriptors_in(frame) == descriptors_of(pixels)).all()
    assert np.allclose(frame[list(ACQUISITION)], acquisition_of(pixels))


def test_two_batches_of_one_hour_do_not_overwrite_each_other(store: Store) -> None:
    for _ in range(2):
        write(store, answered())

    assert len(read(store, NOON - timedelta(hours=1), NOON + timedelta(hours=1))) == 4


def test_only_whole_hours_of_the_time_are_read(store: Store) -> None:
    for days in (-3, -2, -1, 0):
        write(store, answered(NOON + timedelta(days=days), seeds=(1,)))

    frame = read(store, NOON - timedelta(days=2), NOON)

    assert list(frame["hour"]) == ["2026-11-28T12", "2026-11-29T12"]  # this hour is not over
    assert read(store, NOON + timedelta(days=9), NOON + timedelta(days=10)).empty


def test_a_trace_says_no_minute_no_name_and_no_camera() -> None:
    """And the hour is that of UTC, wherever the app runs."""
    (trace,) = answered(NOON.astimezone(timezone(timedelta(hours=9))), seeds=(1,))
    said = trace.model_dump_json()

    assert trace.hour == "2026-11-30T12"
    assert "47" not in trace.hour
    assert "NIKON" not in said
    assert "hash" not in said
    assert not {"image_id", "patient_id", "key", "camera"} & set(Trace.model_fields)


def test_two_requests_share_no_lesion() -> None:
    one, other = answered(), answered()

    assert {each.lesion for each in one} & {each.lesion for each in other} == set()
    assert len({each.lesion for each in one}) == 1


def test_the_border_shows_skin_and_the_mean_the_whole() -> None:
    image = np.full((1, 100, 100, 3), (200, 150, 120), np.uint8)
    image[:, 20:80, 20:80] = 40
    figures = dict(zip(ACQUISITION, acquisition_of(image)[0].tolist(), strict=True))

    borders = [figures[f"border_{name}"] for name in ("red", "green", "blue")]
    assert borders == [200, 150, 120]
    assert figures["red"] == pytest.approx(200 * 0.64 + 40 * 0.36)


@pytest.mark.parametrize(
    "wrong",
    [
        {"hour": "2026-11-30T12:47"},
        {"lesion": "patient 7"},
        {"descriptor": (1.0, 2.0)},
        {"descriptor": (float("nan"),) * 48},
        {"melanoma_probability": 1.2},
        {"decision": "perhaps"},
        {"image_id": "ISIC_1"},
    ],
    ids=str,
)
def test_what_is_no_trace_is_refused(wrong: dict[str, object]) -> None:
    (right,) = answered(seeds=(1,))
    assert Trace(**right.model_dump()) == right

    with pytest.raises(ValidationError):
        Trace(**(right.model_dump() | wrong))


@pytest.mark.parametrize("damage", [b"nothing", b"PAR1 and nothing else PAR1"])
def test_a_damaged_object_is_told_by_its_key(store: Store, damage: bytes) -> None:
    (key,) = write(store, answered())
    store.replace(key, damage)

    with pytest.raises(Corrupt, match=key.rpartition("/")[2]):
        read(store, NOON - timedelta(hours=1), NOON + timedelta(hours=1))


def test_times_the_wrong_way_round_are_refused(store: Store) -> None:
    with pytest.raises(BadInput, match="no time to look at"):
        read(store, NOON, NOON)
