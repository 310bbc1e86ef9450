"""The store's defaults in Airflow's form: read quickly, or told why not. No Airflow is started."""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.config import Retraining
from tests.support.servers import S3Server


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow"))
    folder = tmp_path / "store"
    folder.mkdir()
    monkeypatch.setenv("MELANOMA_STORE", f"{folder}/")
    return folder


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_the_form_shows_the_defaults_of_the_store(store: Path) -> None:
    from dags.form import form
    from dags.store import defaults_for_form

    (store / "config.json").write_text('{"epochs": 7, "recipes": ["best"], "policy": "smoke"}')
    fields = form(*defaults_for_form())

    assert fields["epochs"].value == 7
    assert fields["recipes"].value == ["residual"]
    assert fields["policy"].value == "smoke"
    assert fields["seed"].value == Retraining().seed
    assert fields["policy"].description == form()["policy"].description


def test_without_the_file_or_a_store_the_form_shows_those_of_the_product(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dags.store import defaults_for_form

    assert defaults_for_form() == (Retraining(), "")
    monkeypatch.delenv("MELANOMA_STORE")
    assert defaults_for_form() == (Retraining(), "")


def test_wrong_defaults_are_told_in_the_first_field_of_the_form(store: Path) -> None:
    from dags.form import FIRST, form
    from dags.store import defaults_for_form

    (store / "config.json").write_text('{"epoch": 7}')
    defaults, why = defaults_for_form()
    fields = form(defaults, f"Look: {why}")

    assert defaults == Retraining()
    assert "did you mean epochs" in why
    assert (fields[FIRST[0]].description or "").startswith(f"Look: {why}")


def test_a_store_that_does_not_answer_costs_seconds_and_no_dag(
    store: Path, silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dags.store import SECONDS_TO_READ, defaults_for_form

    monkeypatch.setenv("MELANOMA_STORE", "s3://bucket/prefix")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    monkeypatch.setenv("AWS_ENDPOINT_URL", silent)
    begun = time.monotonic()
    defaults, why = defaults_for_form()

    assert SECONDS_TO_READ <= time.monotonic() - begun < SECONDS_TO_READ + 5
    assert defaults == Retraining()
    assert "did not answer within 3 s" in why


def test_a_task_which_parses_the_file_too_asks_no_store(
    store: Path, silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dags.store import defaults_for_form

    (store / "config.json").write_text('{"epochs": 7}')
    assert defaults_for_form()[0].epochs == 7
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "melanoma_retraining")
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_TASK_ID", "ingest")
    assert defaults_for_form() == (Retraining(), "")


def test_what_a_run_gives_goes_over_the_defaults_of_the_store(store: Path) -> None:
    from dags.store import config_of_run

    (store / "config.json").write_text('{"epochs": 7, "parts": 4}')
    config = config_of_run(f"{store}/runs/a", {"parts": 2})

    assert (config.epochs, config.parts) == (7, 2)
    assert not (store / "runs").exists()  # Airflow itself writes nothing into the store


# Deliveries ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_that_an_event_started_waits_for_the_deliveries_beside_it(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dags.store import wait_until_quiet

    monkeypatch.setenv("MELANOMA_QUIET_SECONDS", "1.2")
    (store / "raw").mkdir()
    arrived: list[float] = []

    def deliver() -> None:
        for number in range(4):
            (store / "raw" / f"{number}.jpg").touch()
            arrived.append(time.monotonic())
            time.sleep(0.6)

    delivery = threading.Thread(target=deliver)
    delivery.start()
    wait_until_quiet(f"{store}/runs/a")
    waited = time.monotonic() - arrived[-1]
    delivery.join()

    assert len(arrived) == 4
    assert 1.2 <= waited < 4


def test_a_delivery_without_an_end_is_not_waited_for(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dags import store as seen

    monkeypatch.setenv("MELANOMA_QUIET_SECONDS", "0.4")
    monkeypatch.setattr(seen, "LONGEST_WAIT", 1.0)
    monkeypatch.setattr("time.sleep", lambda _: _one_more(store))
    begun = time.monotonic()
    seen.wait_until_quiet(f"{store}/runs/a")

    assert 1.0 <= time.monotonic() - begun < 3


def _one_more(store: Path) -> None:
    (store / "raw").mkdir(exist_ok=True)
    (store / "raw" / f"{time.monotonic_ns()}.jpg").touch()


@pytest.mark.parametrize("text", ["a minute", "-1", "nan", "1e9"])
def test_a_quiet_time_that_is_none_is_refused_by_name(
    store: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    from dags.store import wait_until_quiet
    from tasks.errors import BadInput

    monkeypatch.setenv("MELANOMA_QUIET_SECONDS", text)
    with pytest.raises(BadInput, match=f"MELANOMA_QUIET_SECONDS={text}"):
        wait_until_quiet(f"{store}/runs/a")


# Credentials --------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["file", "connection", "nothing"])
def test_airflow_reads_with_the_credentials_of_the_first_step(
    store: Path, moto: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, by: str
) -> None:
    from dags.store import defaults_for_form

    bucket = moto.new_bucket()
    moto.client().put_object(Bucket=bucket, Key="a/config.json", Body=b'{"epochs": 7}')
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto.endpoint)
    monkeypatch.setenv("MELANOMA_STORE", f"s3://{bucket}/a")
    if by == "file":
        held = f"[default]\naws_access_key_id = {moto.access_key}\naws_secret_access_key = b\n"
        (tmp_path / "secret-ingest").write_text(held)
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "secret-{step}"))
    if by == "connection":
        fields = {"conn_type": "aws", "login": moto.access_key, "password": "b"}
        monkeypatch.setenv("AIRFLOW_CONN_STORE_INGEST", json.dumps(fields))
        monkeypatch.setenv("MELANOMA_STORE_CONNECTION", "store_{step}")
    before = os.environ["AWS_SHARED_CREDENTIALS_FILE"]
    defaults, why = defaults_for_form()

    assert defaults.epochs == (20 if by == "nothing" else 7), why
    assert bool(why) == (by == "nothing")
    assert os.environ["AWS_SHARED_CREDENTIALS_FILE"] == before
