"""The deadline of a run counts from when the run was queued, by a reference of our own."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

pytestmark = pytest.mark.slow

# In a process of its own: Airflow loads plugins once.
REFERENCE = """
from dags.melanoma_retraining import steps
from airflow.serialization.encoders import encode_deadline_reference
(alert,) = steps["ingest"].dag.deadline
print(encode_deadline_reference(alert.reference))
"""


@pytest.mark.parametrize(
    ("plugins", "told"),
    [
        ("dags/plugins", "'__class_path': 'dags.deadlines.QueuedAt'"),
        ("docs", "'reference_type': 'DagRunQueuedAtDeadline'"),
    ],
    ids=["plugin", "no-plugin"],
)
def test_the_reference_is_ours_where_airflow_can_find_it(
    plugins: str, told: str, tmp_path: Path
) -> None:
    """A run whose reference Airflow cannot find would never be made."""
    environment = {
        "PATH": "/usr/bin:/bin",
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / plugins),
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-c", REFERENCE],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert told in done.stdout
