"""Every exit code has a meaning, whatever ended the process."""

from pathlib import Path
from typing import Any

import pytest

from tests.support import kubernetes_place


@pytest.fixture(scope="module")
def codes(tmp_path_factory: pytest.TempPathFactory) -> Any:
    home: Path = tmp_path_factory.mktemp("airflow")
    kubernetes_place.place(home)
    from dags import exit_codes

    return exit_codes


def test_every_exit_code_of_a_container_is_an_outcome(codes: Any) -> None:
    kinds = {0: "", 64: "AirflowFailException", 99: "AirflowSkipException"}
    for code in range(256):
        raised = ""
        try:
            codes.raise_for(codes.of_a_shell(code), "so")
        except Exception as error:
            raised = type(error).__name__
        assert raised == kinds.get(code, "AirflowException"), code


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (137, "SIGKILL"),
        (143, "SIGTERM"),
        (160, "signal 32"),
        (163, "signal 35"),
        (192, "SIGRTMAX"),
        (128, "exit code 128"),
        (193, "exit code 193"),
        (255, "exit code 255"),
    ],
)
def test_a_signal_is_told_by_its_name_or_number(codes: Any, code: int, said: str) -> None:
    with pytest.raises(Exception, match=said):
        codes.raise_for(codes.of_a_shell(code), "")
