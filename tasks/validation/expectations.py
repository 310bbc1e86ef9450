"""Check types, ranges and sets by Great Expectations, and make its pages.

This module is the whole of a process of its own, see `tasks.validation.library_process`.
"""

import json
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pandas as pd

from tasks.engine.quiet import quiet_loggers, report_nothing
from tasks.intake.manifest import BYTES, NESTED, parquet_of, to_parquet
from tasks.lesions import DIAGNOSES
from tasks.validation.data_docs import index_of, self_contained

# Libraries of databases, clouds and the grammar of addresses. Great Expectations imports them where
# they are installed. They would take a third of the time, and none is asked here.
NOT_ASKED = ("boto3", "botocore", "rfc3987_syntax", "sqlalchemy")

SMALLEST_PX = 32  # a smaller image does not show the structures of a lesion
LARGEST_PX = 32_768  # more than any dermatoscope delivers: the header of such a file is broken


def serve(connection: Connection) -> None:
    """Answer one validation after the other, until the other end closes.

    Each takes two questions. The first is a table, as Parquet, and is answered by how the table
    meets the suite. The second is the findings of the laws, as JSON, and is answered by the pages.
    An exception is answered by its traceback, as ``{"failed": text}``.
    """
    while True:
        try:
            table = connection.recv_bytes()
        except EOFError:
            return
        try:
            with _context() as (context, site):
                outcome = _expect(context, "manifest", _frame(table), _suite())
                results = _results(outcome)
                connection.send_bytes(_json(_held(results) | {"unexpected": _unexpected(results)}))
                _render(context, outcome)  # while the laws work with the answer
                laws = _show_laws(context, json.loads(connection.recv_bytes()))
                held = {"manifest": _held(results), "laws": _held(laws)}
                connection.send_bytes(_json(_pages(site, held)))
        except EOFError:
            return
        except Exception:
            connection.send_bytes(_json({"failed": traceback.format_exc()}))


def _json(content: Any) -> bytes:
    return json.dumps(content).encode()


def question_of(manifest: pd.DataFrame) -> bytes:
    """The first question: the decoded rows of the manifest, without what no expectation reads."""
    told = manifest[manifest["shard"].notna()].drop(columns=[*BYTES, *NESTED], errors="ignore")
    return to_parquet(told)


def _frame(table: bytes) -> pd.DataFrame:
    return parquet_of(table).astype(object).where(lambda cells: cells.notna(), None)


@contextmanager
def _context() -> Iterator[tuple[Any, Path]]:
    """A context of the library in a temporary folder, and the folder of the context's pages."""
    import great_expectations as gx

    with tempfile.TemporaryDirectory() as folder:
        context = gx.get_context(mode="file", project_root_dir=folder)
        context.variables.progress_bars = {"globally": False}
        yield context, Path(folder, "gx", "uncommitted", "data_docs", "local_site")


def _expect(context: Any, name: str, frame: pd.DataFrame, suite: list[Any]) -> Any:
    """Validate a table and return the library's outcome."""
    import great_expectations as gx

    source = context.data_sources.add_pandas(f"{name} table")
    batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all rows")
    expectations = context.suites.add(gx.ExpectationSuite(name, expectations=suite))
    definition = context.validation_definitions.add(
        gx.ValidationDefinition(name=name, data=batch, suite=expectations)
    )
    checkpoint = context.checkpoints.add(
        gx.Checkpoint(
            name=name,
            validation_definitions=[definition],
            result_format={
                "result_format": "COMPLETE",
                "unexpected_index_column_names": list(frame.columns[:1]),
            },
        )
    )
    return checkpoint.run(batch_parameters={"dataframe": frame})


def _results(outcome: Any) -> list[Any]:
    return [result for each in outcome.run_results.values() for result in each.results]


def _render(context: Any, outcome: Any) -> None:
    """Add an outcome, and the suite that it meets, to the pages."""
    from great_expectations.data_context.types.resource_identifiers import (
        ExpectationSuiteIdentifier,
    )

    for place, result in outcome.run_results.items():
        suite = ExpectationSuiteIdentifier(name=result.suite_name)
        context.build_data_docs(resource_identifiers=[place, suite])


def _show_laws(context: Any, findings: list[dict[str, Any]]) -> list[Any]:
    """Add a page with the laws: one row of counts, each expected to be 0."""
    import great_expectations.expectations as expect

    counts = pd.DataFrame([{each["law"]: each["count"] for each in findings}])
    suite = [
        expect.ExpectColumnMaxToBeBetween(column=each["law"], max_value=0, notes=each["notes"])
        for each in findings
    ]
    outcome = _expect(context, "laws", counts, suite)
    _render(context, outcome)
    return _results(outcome)


def _suite() -> list[Any]:
    import great_expectations.expectations as expect

    return [
        expect.ExpectTableRowCountToBeBetween(min_value=1),
        expect.ExpectColumnValuesToNotBeNull(column="image_id"),
        expect.ExpectColumnValuesToBeUnique(column="key"),
        expect.ExpectColumnValuesToMatchRegex(column="image_id", regex=r"^\S$|^\S.*\S$"),
        expect.ExpectColumnValuesToMatchRegex(column="pixel_hash", regex="^[0-9a-f]{64}$"),
        expect.ExpectColumnValuesToMatchRegex(column="perceptual_hash", regex="^[0-9a-f]{16}$"),
        expect.ExpectColumnValuesToBeInSet(column="label", value_set=list(DIAGNOSES)),
        expect.ExpectColumnValuesToBeBetween(
            column="width", min_value=SMALLEST_PX, max_value=LARGEST_PX
        ),
        expect.ExpectColumnValuesToBeBetween(
            column="height", min_value=SMALLEST_PX, max_value=LARGEST_PX
        ),
        # An image with a wrong age is still a good image: report it, but do not quarantine it.
        expect.ExpectColumnValuesToBeBetween(
            column="age_years", min_value=0, max_value=120, severity="warning"
        ),
        expect.ExpectColumnValuesToBeInSet(
            column="sex", value_set=["female", "male", "unknown"], severity="warning"
        ),
    ]


def _unexpected(results: list[Any]) -> dict[str, str]:
    """Value and broken expectation, as text, of each row that breaks a critical one, by key."""
    reasons: dict[str, list[str]] = {}
    for result in results:
        if result.success or result.expectation_config.severity != "critical":
            continue
        column = result.expectation_config.kwargs.get("column", "")
        rule = result.expectation_config.type.removeprefix("expect_column_values_to_")
        for row in (result.result or {}).get("unexpected_index_list") or ():
            said = f"{column} = {row.get(column)!r} breaks '{rule.replace('_', ' ')}'"
            reasons.setdefault(str(row["key"]), []).append(said)
    return {key: "; ".join(said) for key, said in reasons.items()}


def _held(results: list[Any]) -> dict[str, int]:
    return {"met": sum(bool(result.success) for result in results), "of": len(results)}


def _pages(site: Path, held: dict[str, dict[str, int]]) -> dict[str, str]:
    """The library's pages by path, each self-contained; the index comes first."""
    pages = sorted(page for page in site.rglob("*.html") if page.name != "index.html")
    places = [page.relative_to(site).as_posix() for page in pages]
    index = index_of({name: (each["met"], each["of"]) for name, each in held.items()}, places)
    texts = [self_contained(page.read_text()) for page in pages]
    return dict(zip(["index.html", *places], [index, *texts], strict=True))


def main(descriptor: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that asks ends this one
    report_nothing()
    quiet_loggers()
    for each in NOT_ASKED:
        sys.modules[each] = None  # type: ignore[assignment]  # None: not to be imported
    import great_expectations  # noqa: F401  # before the first question comes

    serve(Connection(descriptor))


if __name__ == "__main__":
    main(int(sys.argv[1]))
