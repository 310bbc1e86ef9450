"""Check types, ranges and sets of the manifest by Great Expectations, and keep its pages."""

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from tasks.engine.run import Run
from tasks.intake.manifest import NESTED
from tasks.lesions import DIAGNOSES
from tasks.records.record import Artifact
from tasks.records.validated import Finding
from tasks.validation.data_docs import index_of, self_contained

log = logging.getLogger(__name__)

SMALLEST_PX = 32  # a smaller image does not show the structures of a lesion
LARGEST_PX = 32_768  # more than any dermatoscope delivers: the header of such a file is broken


@contextmanager
def great_expectations_context() -> Iterator[tuple[Any, Path]]:
    """A context of the library in a temporary folder, and the folder of the context's pages."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read once, when the library is imported
    import great_expectations as gx

    with tempfile.TemporaryDirectory() as folder:
        context = gx.get_context(mode="file", project_root_dir=folder)
        context.variables.progress_bars = {"globally": False}
        yield context, Path(folder, "gx", "uncommitted", "data_docs", "local_site")


def _expect(context: Any, name: str, frame: pd.DataFrame, suite: list[Any]) -> list[Any]:
    """Validate a table, add the outcome to the pages and return the library's results."""
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
            actions=[gx.checkpoint.UpdateDataDocsAction(name="docs")],
        )
    )
    outcome = checkpoint.run(batch_parameters={"dataframe": frame})
    return [result for each in outcome.run_results.values() for result in each.results]


def manifest_results(context: Any, manifest: pd.DataFrame) -> list[Any]:
    told = manifest[manifest["shard"].notna()].drop(columns=["thumbnail", *NESTED])
    frame = told.astype(object).where(lambda table: table.notna(), None)
    results = _expect(context, "manifest", frame, _suite())
    met = sum(bool(result.success) for result in results)
    log.info("Great Expectations: %d of %d expectations met.", met, len(results))
    return results


def show_laws(context: Any, findings: tuple[Finding, ...]) -> list[Any]:
    """Add a page with the laws: one row of counts, each expected to be 0."""
    import great_expectations.expectations as expect

    counts = pd.DataFrame([{finding.law: finding.count for finding in findings}])
    suite = [
        expect.ExpectColumnMaxToBeBetween(
            column=finding.law, max_value=0, notes=f"{finding.description} {finding.remark}"
        )
        for finding in findings
    ]
    return _expect(context, "laws", counts, suite)


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


def unexpected_rows(results: list[Any]) -> dict[str, str]:
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


def keep_docs(run: Run, site: Path, suites: dict[str, list[Any]]) -> tuple[Artifact, ...]:
    """Keep the library's pages, each self-contained; the index comes first."""
    pages = sorted(page for page in site.rglob("*.html") if page.name != "index.html")
    places = [page.relative_to(site).as_posix() for page in pages]
    held = {
        name: (sum(bool(result.success) for result in results), len(results))
        for name, results in suites.items()
    }
    texts = [self_contained(page.read_text()) for page in pages]
    return tuple(
        run.keep(f"data_docs/{place}", text.encode())
        for place, text in zip(
            ["index.html", *places], [index_of(held, places), *texts], strict=True
        )
    )
