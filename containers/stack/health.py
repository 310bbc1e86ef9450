"""The health check of a container of the compose stack: exit code 0 if healthy.

    python health.py ADDRESS          a server answers 200
    python health.py COMPONENT        Airflow's server has heard of this component lately
    python health.py worker           this Celery worker answers over the broker

Imports nothing of Airflow, which alone would take seconds of a core at every check.
"""

import json
import sys
import urllib.request
from pathlib import Path

AIRFLOW = "http://airflow-api:8080/api/v2/monitor/health"
SECONDS = 5


def answer(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=SECONDS) as response:
        content: bytes = response.read()
    return content


def worker_answers() -> bool:
    import socket

    from celery import Celery

    broker = Path("/run/secrets/airflow_broker").read_text().strip()
    name = f"celery@{socket.gethostname()}"
    return bool(Celery(broker=broker).control.ping(destination=[name], timeout=SECONDS))


def healthy(what: str) -> bool:
    if what == "worker":
        return worker_answers()
    if what.startswith("http://"):
        return bool(answer(what)) or True  # another status than 200 raises
    status: str = json.loads(answer(AIRFLOW))[what]["status"]
    return status == "healthy"


if __name__ == "__main__":
    sys.exit(0 if healthy(sys.argv[1]) else 1)
