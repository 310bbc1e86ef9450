"""Each DAG run has a folder of its own in the store."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.engine.run import RUN_NAME
from tests.support import kubernetes_place

MOMENT = "2026-01-04T03:00:00"
# Airflow's default for allowed_run_id_pattern.
IDS = st.from_regex(r"[A-Za-z0-9_.~:+-]{1,250}", fullmatch=True)


@pytest.fixture(scope="module")
def name_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    kubernetes_place.place(tmp_path_factory.mktemp("airflow"))
    from dags.argv import address

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MELANOMA_STORE", "s3://bucket")
        yield lambda run_id: address(run_id).removeprefix("s3://bucket/runs/")


@pytest.mark.parametrize(
    ("run_id", "name"),
    [
        (f"manual__{MOMENT}+00:00", "manual__2026-01-04T03-00-00-00-00"),
        (f"scheduled__{MOMENT}+00:00", "scheduled__2026-01-04T03-00-00-00-00"),
        (
            f"asset_triggered__{MOMENT}.123456+00:00_aB3xYz",
            "asset_triggered__2026-01-04T03-00-00.123456-00-00_aB3xYz",
        ),
        (
            f"drift__scheduled__{MOMENT}+00:00",
            "drift__scheduled__2026-01-04T03-00-00-00-00",
        ),
        ("drift-0123456789ab-2026-01-04", "drift-0123456789ab-2026-01-04"),
        ("demo-1", "demo-1"),
        ("x" * 200, "x" * 200),
    ],
)
def test_ids_of_airflow_and_ids_that_are_names_keep_the_name_that_they_had(
    name_of: Any, run_id: str, name: str
) -> None:
    """Runs that stores hold already are found again."""
    assert name_of(run_id) == name


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("manual:1", "manual+1"),
        ("manual:1", "manual-1"),
        ("x" * 200 + "1", "x" * 200 + "2"),
        ("x" * 200 + "1", "x" * 200),
        ("_mine", "run_mine"),
        (f"manual__{MOMENT}+00:00", "manual__2026-01-04T03-00-00-00-00"),
        (f"manual__{MOMENT}+00:00", f"manual__{MOMENT}-00:00"),
        (f"manual__{MOMENT}+02:00", f"manual__{MOMENT}-02:00"),
    ],
)
def test_two_ids_never_have_one_name(name_of: Any, one: str, other: str) -> None:
    assert name_of(one) != name_of(other)
    assert RUN_NAME.fullmatch(name_of(one))
    assert RUN_NAME.fullmatch(name_of(other))


@given(IDS, IDS)
def test_each_id_that_airflow_takes_has_a_name_of_its_own(
    name_of: Any, one: str, other: str
) -> None:
    assert RUN_NAME.fullmatch(name_of(one))
    assert (name_of(one) == name_of(other)) == (one == other)
