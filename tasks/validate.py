"""validate: find what is not true in the data, and take it out before anything learns from it.

Table laws (types, ranges, sets) are Great Expectations' to check; its own pages are kept as
artifacts. Laws between rows (one image under two labels, one image twice) are checked here.
"""

import logging
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tasks.contracts import Artifact, Finding, Ingested, Severity, Validated
from tasks.errors import BadInput
from tasks.groups import groups_of
from tasks.lesions import DIAGNOSES, MELANOMA, Diagnosis
from tasks.manifest import read_parquet, to_parquet
from tasks.run import Run

log = logging.getLogger(__name__)

EXAMPLES = 10  # enough to look into a finding; the quarantine table holds all of them
SMALLEST_PX = 32  # below this a lesion's structures cannot be seen
LARGEST_PX = 32_768  # beyond any dermatoscope: such a header is broken


@dataclass(frozen=True)
class Breach:
    """Rows that break one law.

    Attributes:
        law, description, severity, consequence: As in `Finding`.
        reasons: Why, for a person; indexed like the manifest, only the rows to quarantine.
        counterparts: Keys of the rows that contradict them, same index; empty where none.
        counted: What the finding counts; the quarantined keys if None.
    """

    law: str
    description: str
    severity: Severity
    consequence: str
    reasons: pd.Series
    counterparts: pd.Series | None = None
    counted: list[str] | None = None


def validate(run: Run, ingested: Ingested) -> Validated:
    """Check the manifest and split it into what is accepted and what is quarantined.

    Raises:
        BadInput: So little is left that nothing can be learned: fewer than two classes, or no
            melanoma.
    """
    manifest = read_parquet(run, ingested.manifest)
    docs, met, expectations, unexpected = _great_expectations(run, manifest)
    quarantine: list[pd.DataFrame] = []
    findings = []
    remaining = manifest
    for check in (
        _refused_by_decoder,
        lambda frame: _schema(frame, unexpected),
        _unknown_label,
        _contradictory_label,
        _duplicate_pixels,
        lambda frame: _class_not_learnable(frame, run.config.minimum_groups),
    ):
        for breach in _as_list(check(remaining)):
            findings.append(_finding(breach, remaining))
            quarantine.append(_quarantined(breach, remaining))
            remaining = remaining.drop(index=breach.reasons.index)

    rows = pd.concat(quarantine)
    _say(manifest, remaining, findings)
    _check_enough_is_left(run, ingested, remaining, findings)
    groups = groups_of(remaining)
    return Validated(
        accepted=run.keep("accepted.parquet", to_parquet(remaining.reset_index(drop=True))),
        quarantine=run.keep("quarantine.csv", rows.to_csv(index=False).encode()),
        findings=tuple(findings),
        data_docs=docs,
        expectations_met=met,
        expectations=expectations,
        quarantined=len(rows),
        classes={name: int((remaining["label"] == name).sum()) for name in _present(remaining)},
        groups={
            name: int(groups[remaining["label"] == name].nunique()) for name in _present(remaining)
        },
    )


def _as_list(breaches: Breach | list[Breach]) -> list[Breach]:
    return breaches if isinstance(breaches, list) else [breaches]


def _present(frame: pd.DataFrame) -> list[Diagnosis]:
    labels = set(frame["label"].dropna())
    return [name for name in DIAGNOSES if name in labels]


def _finding(breach: Breach, frame: pd.DataFrame) -> Finding:
    counted = breach.counted
    if counted is None:
        counted = [str(key) for key in frame.loc[breach.reasons.index, "key"]]
    return Finding(
        law=breach.law,
        description=breach.description,
        count=len(counted),
        severity=breach.severity if counted else "information",
        consequence=breach.consequence if counted else "none: the law holds",
        examples=tuple(counted[:EXAMPLES]),
    )


def _quarantined(breach: Breach, frame: pd.DataFrame) -> pd.DataFrame:
    rows = frame.loc[breach.reasons.index, ["key", "image_id", "label"]].copy()
    rows["law"] = breach.law
    rows["reason"] = breach.reasons
    rows["counterpart"] = "" if breach.counterparts is None else breach.counterparts
    return rows


def _say(manifest: pd.DataFrame, remaining: pd.DataFrame, findings: list[Finding]) -> None:
    for finding in findings:
        if finding.count:
            log.warning("%s: %d. %s", finding.law, finding.count, finding.consequence)
    log.info("%d of %d files accepted.", len(remaining), len(manifest))


def _check_enough_is_left(
    run: Run, ingested: Ingested, remaining: pd.DataFrame, findings: list[Finding]
) -> None:
    classes = _present(remaining)
    if len(classes) >= 2 and MELANOMA in classes:
        return
    why = "; ".join(f"{f.law} {f.count}" for f in findings if f.count) or "no finding"
    raise BadInput(
        "Too little is left to learn from.",
        expected=f"melanoma and at least one other of the nine classes, each with at least "
        f"{run.config.minimum_groups} distinct lesions: {', '.join(DIAGNOSES)}",
        received=f"{ingested.files} files, of which {len(remaining)} could be accepted, of "
        f"{', '.join(classes) or 'no class'} ({why})",
        do="deliver more images in folders named after their diagnosis, or lower minimum_groups",
    )


# Laws -------------------------------------------------------------------------------------------


def _refused_by_decoder(frame: pd.DataFrame) -> list[Breach]:
    texts = {
        "undecodable": "Every file can be decoded to pixels. Counts files.",
        "too_large": "No file is larger than maximum_megapixels. Counts files.",
        "unsafe_name": "No file's name leaves its folder. Counts files.",
    }
    return [
        Breach(law, text, "error", "quarantined", frame.loc[frame["law"] == law, "reason"])
        for law, text in texts.items()
    ]


def _schema(frame: pd.DataFrame, unexpected: dict[str, str]) -> Breach:
    reasons = frame["key"].map(unexpected).dropna()
    return Breach(
        "schema",
        "Every row of the manifest meets the Great Expectations suite. Counts files.",
        "error",
        "quarantined",
        reasons,
    )


def _unknown_label(frame: pd.DataFrame) -> Breach:
    unknown = frame[frame["label"].isna()]
    return Breach(
        "unknown_label",
        "Every file lies in a folder named after one of the nine classes, or a table names its "
        "diagnosis. Counts files.",
        "error",
        "quarantined",
        "the folder " + unknown["folder"].map(repr) + " is none of the nine classes",
    )


def _contradictory_label(frame: pd.DataFrame) -> Breach:
    """The same image id, or the same pixels, under two labels."""
    reasons = pd.Series(index=frame.index, dtype="str")
    counterparts = pd.Series("", index=frame.index, dtype="str")
    for same, words in (("image_id", "image id"), ("pixel_hash", "pixels")):
        labels = frame.groupby(same)["label"].transform("nunique")
        for _, rows in frame[(labels > 1) & reasons.isna()].groupby(same):
            names = ", ".join(sorted(rows["label"].unique()))
            reasons[rows.index] = f"the same {words} stand under {names}"
            for index in rows.index:
                counterparts[index] = " ".join(rows["key"].drop(index=index))
    broken = reasons.dropna()
    return Breach(
        "contradictory_label",
        "No image, by its id or its pixels, stands under two labels. Counts distinct image ids.",
        "error",
        "all files of these images quarantined: which label is true cannot be known",
        broken,
        counterparts[broken.index],
        sorted(frame.loc[broken.index, "image_id"].unique()),
    )


def _duplicate_pixels(frame: pd.DataFrame) -> Breach:
    """All but the first file of each set of identical pixels."""
    ordered = frame.sort_values("key")
    first = ordered.groupby("pixel_hash")["key"].transform("first")
    extra = ordered[ordered["key"] != first].index.sort_values()
    kept = first[extra]
    return Breach(
        "duplicate_pixels",
        "No two files hold the same pixels. Counts files beyond the first.",
        "warning",
        "the first by name kept, the others quarantined",
        "the same pixels as " + kept,
        kept,
    )


def _class_not_learnable(frame: pd.DataFrame, minimum: int) -> Breach:
    groups = groups_of(frame)
    lesions = groups.groupby(frame["label"]).nunique()
    scarce = {str(name): int(count) for name, count in lesions.items() if count < minimum}
    rows = frame[frame["label"].isin(list(scarce))]
    left = rows["label"].map(scarce).astype("str")
    return Breach(
        "class_not_learnable",
        f"Every class that was delivered has at least {minimum} distinct lesions left. Counts "
        "classes.",
        "warning",
        "left out of training and of the model's answers: "
        + ", ".join(f"{name} ({count} left)" for name, count in scarce.items()),
        "only " + left + f" lesions of this class are left, fewer than {minimum}",
        counted=sorted(scarce),
    )


# Great Expectations -----------------------------------------------------------------------------


def _great_expectations(
    run: Run, manifest: pd.DataFrame
) -> tuple[tuple[Artifact, ...], int, int, dict[str, str]]:
    """Validate the decoded rows.

    Returns:
        The Data Docs (index first), expectations met, expectations in all, and for each key
        that broke one the reason.
    """
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read once, when the library is imported
    import great_expectations as gx

    frame = manifest[manifest["shard"].notna()].astype(object).where(lambda f: f.notna(), None)
    with tempfile.TemporaryDirectory() as folder:
        context: Any = gx.get_context(mode="file", project_root_dir=folder)
        context.variables.progress_bars = {"globally": False}
        source = context.data_sources.add_pandas("raw")
        batch = source.add_dataframe_asset("manifest").add_batch_definition_whole_dataframe("run")
        suite = context.suites.add(gx.ExpectationSuite("manifest", expectations=_suite()))
        definition = context.validation_definitions.add(
            gx.ValidationDefinition(name=run.name, data=batch, suite=suite)
        )
        checkpoint = context.checkpoints.add(
            gx.Checkpoint(
                name="manifest",
                validation_definitions=[definition],
                result_format={
                    "result_format": "COMPLETE",
                    "unexpected_index_column_names": ["key"],
                },
                actions=[gx.checkpoint.UpdateDataDocsAction(name="docs")],
            )
        )
        outcome = checkpoint.run(batch_parameters={"dataframe": frame})
        results = [result for each in outcome.run_results.values() for result in each.results]
        site = Path(folder, "gx", "uncommitted", "data_docs", "local_site")
        docs = _keep_docs(run, site)
    met = sum(bool(result.success) for result in results)
    log.info("Great Expectations: %d of %d expectations met.", met, len(results))
    return docs, met, len(results), _unexpected(results)


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
        # A wrong age does not make a wrong image: these are reported, and quarantine nothing.
        expect.ExpectColumnValuesToBeBetween(
            column="age_years", min_value=0, max_value=120, severity="warning"
        ),
        expect.ExpectColumnValuesToBeInSet(
            column="sex", value_set=["female", "male", "unknown"], severity="warning"
        ),
    ]


def _unexpected(results: list[Any]) -> dict[str, str]:
    """Key -> what stands there and what it breaks, for each row that breaks a critical one."""
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


def _keep_docs(run: Run, site: Path) -> tuple[Artifact, ...]:
    pages = sorted(path for path in site.rglob("*") if path.is_file())
    pages.sort(key=lambda path: path.name != "index.html")
    return tuple(
        run.keep(f"data_docs/{page.relative_to(site).as_posix()}", page.read_bytes())
        for page in pages
    )
