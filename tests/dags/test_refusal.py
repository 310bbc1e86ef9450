"""What the API server refuses before there is a run. For real, see ``tests/real/airflow``."""

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def contradiction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow"))
    (tmp_path / "store").mkdir()
    monkeypatch.setenv("MELANOMA_STORE", str(tmp_path / "store"))
    from dags.plugins.refusal import contradiction

    return contradiction


def body(**conf: Any) -> bytes:
    return json.dumps({"logical_date": None, "conf": conf}).encode()


@pytest.mark.parametrize(
    ("conf", "said"),
    [
        ({"image_size": 96, "packed_size": 64}, "image_size must be at most packed_size"),
        ({"image_size": 256}, "received image_size=256, packed_size=180"),
        ({"best_epochs": 3, "residual_epochs": 3}, "best_epochs is the former name"),
        ({"epoch": 3}, "did you mean epochs"),
    ],
)
def test_a_mistake_is_one_sentence(contradiction: Any, conf: dict[str, Any], said: str) -> None:
    told = contradiction(body(**conf))
    assert said in told
    assert "\n" not in told


@pytest.mark.parametrize(
    "sent",
    [body(), body(image_size=64, packed_size=64), body(best_epochs=3), b"{}", b"[1]", b"\xff"],
)
def test_what_fits_or_is_airflows_to_refuse_goes_through(contradiction: Any, sent: bytes) -> None:
    assert contradiction(sent) == ""


def test_the_defaults_of_the_store_count(contradiction: Any, tmp_path: Path) -> None:
    (tmp_path / "store" / "config.json").write_text('{"packed_size": 64, "image_size": 48}')
    assert "packed_size=64" in contradiction(body(image_size=96))
    assert contradiction(body(image_size=64)) == ""


def test_where_the_defaults_cannot_be_read_the_first_task_decides(
    contradiction: Any, tmp_path: Path
) -> None:
    (tmp_path / "store" / "config.json").write_text("no JSON")
    assert contradiction(body(image_size=96, packed_size=64)) == ""
