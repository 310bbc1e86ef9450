"""validate: find what is not true in the data, and take it out before anything learns from it.

`tasks.validation.laws` says what true data are; here the policy is applied. Types, ranges and sets
are Great Expectations' to check; its own pages are kept as artifacts.
"""

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.config import Retraining
from tasks.engine.ledger import chain_of
from tasks.engine.run import Run
from tasks.engine.spreadsheet import to_csv
from tasks.errors import BadInput
from tasks.evaluation.policy import parse_policy, policy_bytes
from tasks.figures import plural
from tasks.intake.images import THUMBNAIL_PX
from tasks.intake.likeness import joined, near_duplicates
from tasks.intake.manifest import NESTED, read_parquet, to_parquet
from tasks.lesions import DIAGNOSES, MELANOMA, Diagnosis, archive_says, source_from
from tasks.parts import Part
from tasks.records.ingested import Ingested
from tasks.records.record import Artifact
from tasks.records.validated import Finding, Validated, ValidatedPart
from tasks.splitting.groups import groups_of
from tasks.splitting.looks import settled_of
from tasks.validation.changes import OTHERS, changes_since, previous_of
from tasks.validation.data_docs import index_of, self_contained
from tasks.validation.laws import RULES, Breach, Evidence, Rule
from tasks.validation.standing import Standing, standing

log = logging.getLogger(__name__)

EXAMPLES = 10  # enough to look into a finding; the quarantine table holds all of them
SMALLEST_PX = 32  # below this a lesion's structures cannot be seen
PAIR = ["first", "second"]
LARGEST_PX = 32_768  # beyond any dermatoscope: such a header is broken

# Judged on what is accepted, because they ask what a network will learn from. All others are
# judged on all that was delivered, so that no law's count depends on another law.
ON_ACCEPTED = ("class_not_learnable", "distribution_shift")


def validate_part(run: Run, ingested: Ingested, part: Part) -> ValidatedPart:
    """Find the near duplicates of one part's images among all images."""
    manifest = read_parquet(run, ingested.manifest)
    rows = manifest[manifest["thumbnail"].notna()]
    planes = np.frombuffer(b"".join(rows["thumbnail"]), np.uint8)
    mine = rows["key"].map(part.holds).to_numpy(bool)
    found = near_duplicates(planes.reshape(-1, THUMBNAIL_PX, THUMBNAIL_PX), mine)
    keys = rows["key"].to_numpy()
    named = found.assign(
        **{end: pd.Series(keys[found[end].to_numpy(int)], dtype="str") for end in PAIR}
    )
    return ValidatedPart(
        pairs=run.keep("pairs.parquet", to_parquet(named)), compared=int(mine.sum())
    )


def validate(run: Run, ingested: Ingested, parts: tuple[ValidatedPart, ...]) -> Validated:
    """Check the manifest and split it into what is accepted and what is quarantined.

    Raises:
        BadInput: A law of `laws_that_fail` is broken; or so little is left that nothing can be
            learned: fewer than two classes, or no melanoma; or the configured policy is not for
            such lesions, so that no model could pass the gate.
    """
    manifest = read_parquet(run, ingested.manifest)
    pairs = joined([read_parquet(run, part.pairs) for part in parts])[PAIR]
    manifest = _with_near_duplicates(manifest, pairs)
    before = previous_of(run)
    settled = settled_of(chain_of(run.store), run.config.test_part)
    delivered = Evidence(
        frame=manifest,
        pairs=pairs,
        unexpected={},
        unmatched=(ingested.rows_without_image, ingested.rows_without_image_examples),
        classes=tuple(_present(manifest)),
        minimum_groups=run.config.minimum_groups,
        previous=before,
        standing=standing(manifest, settled),
    )
    with _great_expectations() as (context, pages):
        results = _manifest_results(context, manifest)
        findings, remaining, quarantined, relabelled = _judge(
            replace(delivered, unexpected=_unexpected(results)), run.config
        )
        laws = _show_laws(context, findings)
        docs = _keep_docs(run, pages, {"manifest": results, "laws": laws})
    _say(manifest, remaining, relabelled, findings)
    _check_no_law_fails(run.config, findings)
    _check_enough_is_left(run, ingested, remaining, findings)
    _check_policy_fits(run.config.policy, remaining)
    groups = groups_of(remaining)
    images = remaining["label"].value_counts()
    return Validated(
        accepted=run.keep("accepted.parquet", to_parquet(remaining.reset_index(drop=True))),
        quarantine=run.keep("quarantine.csv", to_csv(quarantined)),
        findings=findings,
        data_docs=docs,
        expectations_met=sum(bool(result.success) for result in results),
        expectations=len(results),
        quarantined=len(quarantined),
        classes={name: int(images[name]) for name in _present(remaining)},
        groups={
            name: int(groups[remaining["label"] == name].nunique()) for name in _present(remaining)
        },
        relabelled=relabelled,
        changes=changes_since(run, before, remaining, quarantined, findings) if before else None,
    )


def _judge(
    delivered: Evidence, config: Retraining
) -> tuple[tuple[Finding, ...], pd.DataFrame, pd.DataFrame, int]:
    """Every law's finding, the rows that remain, those that do not, and how many labels changed."""
    breaches = {rule.law: rule.check(delivered) for rule in RULES if rule.law not in ON_ACCEPTED}
    assert delivered.standing
    resolved, relabelled = _resolved(delivered.standing, breaches, config)
    remaining, quarantined, later = _taken_out(replace(delivered, frame=resolved), config)
    findings = tuple(
        _finding(rule, (breaches | later)[rule.law], remaining, config) for rule in RULES
    )
    return findings, remaining, quarantined, relabelled


def _with_near_duplicates(manifest: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """The manifest with a name for each set of near duplicates."""
    # Each pair is a link; what hangs together by such links has one name.
    links = pd.concat(
        [
            pd.DataFrame({"image_id": ends, "lesion_id": np.arange(len(pairs)).astype(str)})
            for ends in (pairs["first"], pairs["second"])
        ]
    ).astype("str")
    names = dict(zip(links["image_id"], groups_of(links), strict=True))
    return manifest.assign(near_duplicate=manifest["key"].map(names).astype("str"))


def _present(frame: pd.DataFrame) -> list[Diagnosis]:
    labels = set(frame["label"].dropna())
    return [name for name in DIAGNOSES if name in labels]


# Policy -----------------------------------------------------------------------------------------


def _resolved(
    stands: Standing, breaches: dict[Any, Breach], config: Retraining
) -> tuple[pd.DataFrame, int]:
    """The manifest with the archive's label where it resolves a breach; how many labels changed.

    No archive resolves what was judged.
    """
    manifest = stands.frame
    labels = manifest["label"].copy()
    for law in config.laws_that_resolve:
        for index in breaches[law].reasons.index.difference(list(stands.held)):
            told = manifest.at[index, "archive_diagnosis"]
            said = archive_says(told) if isinstance(told, tuple) else None
            if said and len(said) == 1:
                labels[index] = said[0]
    changed = int((labels.fillna("") != manifest["label"].fillna("")).sum())
    return manifest.assign(label=labels), changed


def _taken_out(
    evidence: Evidence, config: Retraining
) -> tuple[pd.DataFrame, pd.DataFrame, dict[Any, Breach]]:
    """Apply the quarantining laws one after the other.

    Returns:
        The rows that remain, the table of those that do not, and the breaches of the laws that
        are judged on what remains.
    """
    remaining, out, later = evidence.frame, [], {}
    for rule in RULES:
        breach = rule.check(replace(evidence, frame=remaining))
        if rule.law in ON_ACCEPTED:
            later[rule.law] = breach
        reasons = breach.reasons if rule.quarantines else breach.reasons.iloc[:0]
        if config.test_part == "delivered" and rule.law in SPARED_IN_DELIVERED_TEST:
            parts = remaining.loc[reasons.index, "part"].str.casefold()
            reasons = reasons[parts != "test"]
        rows = remaining.loc[reasons.index, ["key", "image_id", "label"]].copy()
        rows["law"], rows["reason"] = rule.law, reasons
        against = breach.counterparts.reindex(reasons.index)
        told = [each if isinstance(each, tuple) else () for each in against]
        rows["counterpart"] = ["".join(each[:1]) for each in told]
        rows[OTHERS] = ["; ".join(each[1:]) for each in told]  # for people only
        out.append(rows)
        remaining = remaining.drop(index=reasons.index)
    return remaining, pd.concat(out), later


# Results published on the delivered test images were measured with these defects in them, so to be
# compared with them they stay in; what they contradict leaves training.
SPARED_IN_DELIVERED_TEST = (
    "contradictory_label",
    "label_disagrees_with_archive",
    "lesion_under_two_labels",
    "duplicate_pixels",
    "delivered_again",
)


def _finding(rule: Rule, breach: Breach, remaining: pd.DataFrame, config: Retraining) -> Finding:
    count = len(breach.counted) if breach.count is None else breach.count
    return Finding(
        law=rule.law,
        description=rule.description,
        count=count,
        severity=rule.severity if count else "information",
        consequence=rule.consequence + _kept(rule, breach, remaining, config)
        if count
        else "none: the law holds",
        remark=breach.remark,
        examples=tuple(breach.counted[:EXAMPLES]),
    )


def _kept(rule: Rule, breach: Breach, remaining: pd.DataFrame, config: Retraining) -> str:
    """How many of the files that broke a quarantining law as delivered are accepted after all: the
    archive or a judged image settled them, or another law took out what they contradicted."""
    files = breach.reasons.index
    kept = len(files.intersection(remaining.index)) if rule.quarantines else 0
    spared = config.test_part == "delivered" and rule.law in SPARED_IN_DELIVERED_TEST
    why = "what is accepted no longer contradicts them"
    if spared:
        why = f"{why}, or they are in the delivered test part"
    return f", but for {kept} of {plural(len(files), 'file')}: {why}" if kept else ""


def _say(
    manifest: pd.DataFrame, remaining: pd.DataFrame, relabelled: int, findings: tuple[Finding, ...]
) -> None:
    for finding in findings:
        if finding.count:
            level = logging.INFO if finding.severity == "information" else logging.WARNING
            remark = f" ({finding.remark})" if finding.remark else ""
            log.log(level, "%s: %d%s. %s.", finding.law, finding.count, remark, finding.consequence)
    if relabelled:
        log.warning("%d files got the label of the archive's ground truth.", relabelled)
    log.info("%d of %d files accepted.", len(remaining), len(manifest))


def _check_no_law_fails(config: Retraining, findings: tuple[Finding, ...]) -> None:
    broken = [each for each in findings if each.count and each.law in config.laws_that_fail]
    if broken:
        raise BadInput(
            "The data break a law that ends the run.",
            expected="; ".join(f"{each.law}: {each.description}" for each in broken),
            received="; ".join(
                f"{each.law} {each.count}, such as {', '.join(each.told[:3])}" for each in broken
            ),
            do="correct the delivery, or take the law out of laws_that_fail",
        )


def _check_enough_is_left(
    run: Run, ingested: Ingested, remaining: pd.DataFrame, findings: tuple[Finding, ...]
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


def _check_policy_fits(name: str, remaining: pd.DataFrame) -> None:
    """Real lesions are judged by a policy for real ones only, and drawn ones by one for drawn."""
    policy = parse_policy(policy_bytes(name), name)
    drawn = int(remaining["image_id"].map(source_from).eq("SYNTHETIC").sum())
    if drawn == (len(remaining) if policy.data == "synthetic" else 0):
        return
    wanted, other = ("real", "synthetic") if policy.data == "real" else ("drawn", "melanoma")
    raise BadInput(
        "The policy does not fit the data: the gate would refuse any model.",
        expected=f"{wanted} lesions only, which the policy {name} is for",
        received=f"{drawn} drawn and {len(remaining) - drawn} real images",
        do=f"""give --config '{{"policy": "{other}"}}' if all are of the other kind; never have """
        "real and drawn lesions in one store",
    )


# Great Expectations -----------------------------------------------------------------------------


@contextmanager
def _great_expectations() -> Iterator[tuple[Any, Path]]:
    """A context of the library in a folder of its own, and the folder that its pages go to."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read once, when the library is imported
    import great_expectations as gx

    with tempfile.TemporaryDirectory() as folder:
        context = gx.get_context(mode="file", project_root_dir=folder)
        context.variables.progress_bars = {"globally": False}
        yield context, Path(folder, "gx", "uncommitted", "data_docs", "local_site")


def _expect(context: Any, name: str, frame: pd.DataFrame, suite: list[Any]) -> list[Any]:
    """Validate a table, add the outcome to the pages, and return the library's results."""
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


def _manifest_results(context: Any, manifest: pd.DataFrame) -> list[Any]:
    told = manifest[manifest["shard"].notna()].drop(columns=["thumbnail", *NESTED])
    frame = told.astype(object).where(lambda table: table.notna(), None)
    results = _expect(context, "manifest", frame, _suite())
    met = sum(bool(result.success) for result in results)
    log.info("Great Expectations: %d of %d expectations met.", met, len(results))
    return results


def _show_laws(context: Any, findings: tuple[Finding, ...]) -> list[Any]:
    """The laws beside the table's own expectations: one row of counts, each expected to be 0."""
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


def _keep_docs(run: Run, site: Path, suites: dict[str, list[Any]]) -> tuple[Artifact, ...]:
    """The library's pages, each whole in itself; the index first."""
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
