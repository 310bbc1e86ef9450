"""Check the data: every file accounted for, no group on two sides, only training images copied."""

from typing import Any

import pandas as pd

from tasks.config import Retraining
from tasks.records.ingested import Ingested
from tasks.records.oversampled import Oversampled
from tasks.records.split import Split
from tasks.records.validated import Validated
from tasks.release.checks.flaw import check_same, config_of, flaw, record_of
from tasks.release.evidence import FIRST, Bundle
from tasks.splitting.groups import LINKS, straddling
from tasks.splitting.looks import settled_of
from tasks.splitting.sides import SIDES, flaw_in, register_of


def every_file_delivered_is_accounted_for(bundle: Bundle) -> str:
    validated, split = record_of(bundle, Validated), record_of(bundle, Split)
    manifest = set(bundle.table("ingest", record_of(bundle, Ingested).manifest)["key"])
    accepted = set(bundle.table("validate", validated.accepted)["key"])
    quarantine = set(bundle.table("validate", validated.quarantine)["key"])
    parts = set(bundle.table("split", split.parts)["key"])
    left = set(bundle.table("split", split.left_out)["key"])
    check_same("the manifest's files are accepted or quarantined", accepted | quarantine, manifest)
    check_same("no file is accepted and quarantined", accepted & quarantine, set())
    check_same("accepted files are in a part or left out", parts | left, accepted)
    check_same("no file is in a part and left out", parts & left, set())
    return (
        f"all {len(manifest)} files delivered are accounted for: {len(parts)} in a part, "
        f"{len(quarantine)} quarantined, {len(left)} left out"
    )


def no_group_straddles(bundle: Bundle) -> str:
    split = record_of(bundle, Split)
    parts = bundle.table("split", split.parts)
    proof = bundle.table("split", split.proof)
    torn = straddling(parts)
    if torn:
        raise flaw("a group stands on several sides", "none does", ", ".join(torn[:3]))
    for link in LINKS:
        sides = parts.groupby(link)["side"].nunique() if link in parts else pd.Series(dtype=int)
        for value in sides[sides > 1].index:
            raise flaw(f"two sides share a {link}", "they share none", str(value))
    config = config_of(split)
    hashed = config.test_part == "hashed"
    register, judged = _known_of_images(bundle, split, config)
    shares = (config.test_share, config.validation_share) if hashed else None
    wrong = flaw_in(proof, shares, register, judged)
    if wrong:
        raise flaw(f"the split proof is wrong, {wrong}", "what the hash decides", "proof.csv")
    theirs = proof.set_index("key")[["group", "side"]].sort_index().to_numpy(str)
    if (parts.set_index("key")[["group", "side"]].sort_index().to_numpy(str) != theirs).any():
        raise flaw("the split proof is of another split", "the rows of parts.parquet", "proof.csv")
    counts = {side: _counted(parts[parts["side"] == side]["label"]) for side in SIDES}
    if counts != {side: dict(split.counts[side]) for side in SIDES}:
        raise flaw("the parts are not as counted", f"{split.counts}", f"{counts}")
    return f"{parts['group'].nunique()} groups, none on two sides of the split, found anew"


def _known_of_images(
    bundle: Bundle, split: Split, config: Retraining
) -> tuple[dict[str, str] | None, set[str]]:
    """What the ledger holds about the images of the split; nothing in a bundle without ledger."""
    if bundle.manifest.format == FIRST:
        return None, set()
    chain = bundle.ledger().until(split.ledger)
    return register_of(chain), set(settled_of(chain, config.test_part).images)


def _counted(labels: pd.Series) -> dict[Any, int]:
    return {str(name): int(count) for name, count in labels.value_counts().items()}


def copies_are_of_training_images(bundle: Bundle) -> str:
    parts = bundle.table("split", record_of(bundle, Split).parts)
    copies = bundle.table("oversample", record_of(bundle, Oversampled).copies)
    strays = set(copies["source_key"]) - set(parts.loc[parts["side"] == "train", "key"])
    for key in sorted(strays):
        raise flaw("a copy was drawn from outside training", "training images only", key)
    return f"{len(copies)} oversampled copies, all of training images"
