"""validate: find false data, and take them out before a network learns from them.

`tasks.validation.laws` defines the laws of true data; `tasks.validation.quarantine` acts on
breaches. Great Expectations checks types, ranges and sets (`tasks.validation.expectations`); its
pages are kept as artifacts.
"""

import logging

import pandas as pd

from tasks.config import Law, Retraining
from tasks.engine.delivery_order import order_of
from tasks.engine.ledger import chain_of
from tasks.engine.run import Run
from tasks.engine.spreadsheet import to_csv
from tasks.errors import BadInput
from tasks.evaluation.policy import policy_of
from tasks.intake.derived_names import derived_from
from tasks.intake.guide import NAME as GUIDE
from tasks.intake.likeness import joined
from tasks.intake.looking_alike import alike_among
from tasks.intake.manifest import read_parquet, to_parquet
from tasks.intake.surroundings import measured_of
from tasks.lesions import DIAGNOSES, MELANOMA, Diagnosis, source_from
from tasks.parts import Part
from tasks.records.ingested import ExternalSet, Ingested
from tasks.records.validated import ExternalKept, Finding, Validated, ValidatedPart
from tasks.splitting.groups import groups_of, with_near_duplicates
from tasks.splitting.looks import settled_of
from tasks.validation.apart import Apart, counted, kept_apart, with_deliverers
from tasks.validation.beside import Expectations, expectations_of
from tasks.validation.changes import changes_since, previous_of
from tasks.validation.laws.law import Delivered
from tasks.validation.quarantine import apply_laws
from tasks.validation.standing import standing

log = logging.getLogger(__name__)

PAIR = ["first", "second"]
# What to do about the law that took most files.
ADVICE: dict[Law, str] = {
    "unknown_label": f"say in {GUIDE} which class each folder or code means (`python -m tasks "
    "inspect --write` drafts the file), or rename the folders",
    "label_disagrees_with_archive": "find out whether folders or tables are wrong, and deliver the "
    'right ones; or let the tables decide: --config \'{"laws_that_resolve": '
    '["label_disagrees_with_archive"]}\'',
    "undecodable": "deliver the images anew: most files cannot be decoded, see the quarantine",
    "contradictory_label": "find out which folder is right: most images stand under two labels",
    "contradictory_metadata": "deliver tables that agree: most images have two lesions or patients",
    "lesion_under_two_labels": "find out which label is right: most lesions stand under two",
    "lesion_of_two_patients": "deliver lesion ids that no two patients share",
}


def validate_part(run: Run, ingested: Ingested, part: Part) -> ValidatedPart:
    """Find what looks like one part's images among all images, those of external sets too."""
    sets = (read_parquet(run, each.manifest) for each in ingested.external)
    every = pd.concat([read_parquet(run, ingested.manifest), *sets], ignore_index=True)
    rows = every[every["thumbnail"].notna()].reset_index(drop=True)
    mine = rows["key"].map(part.holds).to_numpy(bool)
    named = alike_among(run, rows, mine)
    return ValidatedPart(
        pairs=run.keep("pairs.parquet", to_parquet(named)), compared=int(mine.sum())
    )


def validate(run: Run, ingested: Ingested, parts: tuple[ValidatedPart, ...]) -> Validated:
    """Check the manifest and split it into what is accepted and what is quarantined.

    Raises:
        BadInput: The data break a law of `laws_that_fail`; or fewer than two classes, or no
            melanoma, are left; or the configured policy is not for such lesions, so that no model
            could pass the gate.
    """
    manifest = read_parquet(run, ingested.manifest)
    with expectations_of(manifest) as expectations:
        return _validated(run, ingested, manifest, parts, expectations)


def _validated(
    run: Run,
    ingested: Ingested,
    manifest: pd.DataFrame,
    parts: tuple[ValidatedPart, ...],
    expectations: Expectations,
) -> Validated:
    alike = joined([read_parquet(run, part.pairs) for part in parts])
    pairs = alike[alike[PAIR].isin(set(manifest["key"])).all(axis=1)].reset_index(drop=True)
    sets = {each.name: read_parquet(run, each.manifest) for each in ingested.external}
    named = derived_from(pd.concat([manifest, *sets.values()])[["key", "image_id"]])
    derived = named[named[PAIR].isin(set(manifest["key"])).all(axis=1)]
    manifest = with_near_duplicates(manifest, pd.concat([pairs[PAIR], derived]))
    order = order_of(run.store) if sets else {}
    links = pd.concat([alike[PAIR], named])
    apart = with_deliverers(kept_apart(manifest, sets, links, order), order)
    before = previous_of(run)
    settled = settled_of(chain_of(run.store), run.config.test_part)
    delivered = Delivered(
        frame=manifest,
        pairs=pairs,
        derived=derived,
        unexpected=expectations.unexpected,
        unmatched=(ingested.rows_without_image, ingested.rows_without_image_examples),
        classes=tuple(_present(manifest)),
        minimum_groups=run.config.minimum_groups,
        previous=before,
        standing=standing(manifest, settled),
        reading=ingested.reading,
        external=apart,
        measured=measured_of(manifest),
    )
    findings, remaining, quarantined, relabelled = apply_laws(delivered, run.config)
    docs = expectations.keep_docs(run, findings)
    told = expectations.told
    _say(manifest, remaining, relabelled, findings)
    _check_no_law_fails(run.config, findings)
    _check_enough_is_left(run, ingested, remaining, findings)
    _check_policy_fits(run, remaining)
    groups = groups_of(remaining)
    images = remaining["label"].value_counts()
    return Validated(
        accepted=run.keep("accepted.parquet", to_parquet(remaining.reset_index(drop=True))),
        quarantine=run.keep("quarantine.csv", to_csv(quarantined)),
        findings=findings,
        data_docs=docs,
        expectations_met=told["met"],
        expectations=told["of"],
        quarantined=len(quarantined),
        classes={name: int(images[name]) for name in _present(remaining)},
        groups={
            name: int(groups[remaining["label"] == name].nunique()) for name in _present(remaining)
        },
        relabelled=relabelled,
        changes=changes_since(run, before, remaining, quarantined, findings) if before else None,
        external=tuple(_kept(run, apart, each) for each in ingested.external),
    )


def _kept(run: Run, apart: Apart, delivered: ExternalSet) -> ExternalKept:
    name = delivered.name
    rows, left = apart.kept[name], apart.left[name]
    reasons = counted(left["reason"], left["counterpart"])
    log.info("External set %s: %d images share nothing with raw/.", name, len(rows))
    for reason, count in reasons.items():
        log.warning("External set %s: %d images do not count: %s.", name, count, reason)
    return ExternalKept(
        name=name,
        kept=run.keep(f"external/{name}.parquet", to_parquet(rows)),
        images=len(rows),
        left=run.keep(f"external/{name}-left.csv", to_csv(left)),
        reasons=reasons,
        without_image=delivered.rows_without_image,
    )


def _present(frame: pd.DataFrame) -> list[Diagnosis]:
    labels = set(frame["label"].dropna())
    return [name for name in DIAGNOSES if name in labels]


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
        do=_advice(findings, ingested.files),
    )


def _advice(findings: tuple[Finding, ...], files: int) -> str:
    """What to do, by the finding that took most files."""
    taken = {each.law: each.count for each in findings if each.law in ADVICE and each.count}
    most = max(taken, key=lambda law: taken[law], default=None)
    if most is None or taken[most] * 4 < files:
        return "deliver more images in folders named after their diagnosis, or lower minimum_groups"
    return ADVICE[most]


def _check_policy_fits(run: Run, remaining: pd.DataFrame) -> None:
    """Check that the policy judges these lesions: real ones or drawn ones, never both."""
    policy, _ = policy_of(run)
    drawn = int(remaining["image_id"].map(source_from).eq("SYNTHETIC").sum())
    if drawn == (len(remaining) if policy.data == "synthetic" else 0):
        return
    wanted, other = ("real", "synthetic") if policy.data == "real" else ("drawn", "melanoma")
    raise BadInput(
        "The policy does not fit the data: the gate would refuse any model.",
        expected=f"{wanted} lesions only, which the policy {run.config.policy} is for",
        received=f"{drawn} drawn and {len(remaining) - drawn} real images",
        do=f"""give --config '{{"policy": "{other}"}}' if all are of the other kind; never have """
        "real and drawn lesions in one store",
    )
