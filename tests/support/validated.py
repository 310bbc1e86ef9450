"""Deliveries that are validated, and what was found in them."""

from typing import Any

from tasks.engine.run import Run
from tasks.engine.store import Store
from tasks.records.validated import Validated
from tests.support.deliveries import do, run_of, table_of


def validated(store: Store, name: str = "test", **config: Any) -> tuple[Run, Validated]:
    run = run_of(store, name, **config)
    return run, do(run, "ingest", "validate")


def count(record: Validated, law: str) -> int:
    return next(finding.count for finding in record.findings if finding.law == law)


def quarantined(run: Run, record: Validated, law: str) -> list[str]:
    table = table_of(run, record.quarantine)
    return sorted(table.loc[table["law"] == law, "key"].str.rpartition("/")[2])


def remark(record: Validated, law: str) -> str:
    return next(finding.remark for finding in record.findings if finding.law == law)


def add_table(store: Store, rows: str, name: str = "labels") -> None:
    store.create(f"raw/m/{name}.csv", rows.encode())
