"""ingest: decode the delivered files once, to packed pixels and a manifest."""

import logging
import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import pandas as pd

from tasks.config import Law
from tasks.engine.delivery_order import order_of
from tasks.engine.erasures import LAW, erasures_in
from tasks.engine.run import Run
from tasks.engine.store import Entry
from tasks.engine.withdrawals import EXTERNAL, SET_NAME, Withdrawn, set_of
from tasks.errors import BadInput
from tasks.figures import listed, plural
from tasks.intake.across import linked_across
from tasks.intake.contents import (
    FILE_TYPES,
    begun,
    describe,
    known,
    remember,
    remember_pack,
    remember_places,
    shards_of,
    told_by_tags,
    without_names,
)
from tasks.intake.folder import ODD_NAME, is_odd
from tasks.intake.manifest import IMAGES_PER_SHARD, read_parquet, to_parquet
from tasks.intake.merging import merged
from tasks.intake.pseudonyms import Pseudonyms, of_store
from tasks.intake.readings import by_entry, tell
from tasks.intake.telling import Telling
from tasks.intake.understood import Delivery, Understood, is_safe, of_entries, understood
from tasks.lesions import FILE_SUFFIX, SYNTHETIC_PREFIX, image_id_from
from tasks.parts import Part, bucket_of
from tasks.records.ingested import ExternalSet, Ingested, IngestedPart

log = logging.getLogger(__name__)

STRAY = "nobody is named who delivered it: enter it with python -m tasks deliver --external"


def ingest_part(run: Run, part: Part) -> IngestedPart:
    """Fetch and decode the files of one part that no earlier run has seen.

    Raises:
        BadInput: There is no image under ``raw/``.
    """
    sets = external_sets(run).values()
    images = [*_delivered(run).images, *(entry for each in sets for entry in each.images)]
    memory = known(run)
    mine = [each for each in images if part.holds(each.key) and is_safe(each)]
    gone = erasures_in(run.store)
    erased = {each.key: gone.why(image_id=image_id_from(each.key)) for each in mine}
    seen, new = memory.of([each for each in mine if not erased[each.key]])
    if new:  # else the manifest would change, and all that was learned from it
        moved = merged(run, seen)
        seen = pd.concat([seen.drop(index=moved.index), moved])
        if len(moved):
            remember_places(run, moved, {entry.key: entry.etag for entry in mine})
    # An unfinished attempt leaves only whole packs, so the rest is packed in the same way.
    kept, missing = begun(run).of(new) if new else (seen[:0], new)
    out = _not_fetched([each for each in mine if erased[each.key]], LAW, erased)
    frames = [each.assign(fetched=False) for each in (seen, out)] + [kept.assign(fetched=True)]
    done = len(kept)
    if done:
        log.info("An unfinished attempt already decoded %d of %d images.", done, len(new))
    # A photograph beside DICOMs may be named after their patient.
    pseudonyms, tags = of_store(run.store), told_by_tags(memory.files, seen, kept)
    written: Future[None] | None = None
    with ThreadPoolExecutor(1) as writer:  # the disk makes it wait, so the next pack is begun
        for pack in _packs(missing):
            found = describe(run, pack, memory)
            tags += told_by_tags(found)
            nameless, _ = without_names(found, pseudonyms, tags)
            etags = {entry.key: entry.etag for entry in pack}
            if written:
                written.result()  # raises what went wrong, before more is done in vain
            written = writer.submit(remember_pack, run, nameless, etags)
            frames.append(found.assign(fetched=True))
            done += len(pack)
            run.progress(done, len(new), f"{done} of {len(new)} images decoded")
    if written:
        written.result()
    files, _ = without_names(pd.concat(frames), pseudonyms, tags)
    files = files.sort_values("key", ignore_index=True)
    return IngestedPart(
        rows=run.keep("rows.parquet", to_parquet(files)), shards=shards_of(files), fetched=len(new)
    )


def _packs(entries: list[Entry]) -> Iterator[list[Entry]]:
    """The files to pack together. They share a bucket, so packs do not depend on the parts.

    Packs with DICOMs come first: what their tags say is known when other names are looked at.
    """
    buckets: dict[int, list[Entry]] = {}
    for entry in entries:
        buckets.setdefault(bucket_of(entry.key), []).append(entry)
    packs = [
        bucket[start : start + IMAGES_PER_SHARD]
        for _, bucket in sorted(buckets.items())
        for start in range(0, len(bucket), IMAGES_PER_SHARD)
    ]
    yield from sorted(packs, key=lambda pack: not any(_may_be_dicom(each.key) for each in pack))


def _may_be_dicom(key: str) -> bool:
    suffix = FILE_SUFFIX.search(key)
    return not suffix or suffix[0].casefold() in (".dcm", ".dicom")


def ingest(run: Run, parts: tuple[IngestedPart, ...]) -> Ingested:
    """Join the parts, and add to every file what the delivered tables say about its image.

    Raises:
        BadInput: There is no image under ``raw/``.
    """
    delivery, sets = _delivered(run), external_sets(run)
    images = [*delivery.images, *(entry for each in sets.values() for entry in each.images)]
    files = pd.concat([read_parquet(run, part.rows) for part in parts], ignore_index=True)
    pseudonyms = of_store(run.store)
    files = pd.concat([files, _unsafe(images).assign(fetched=False)], ignore_index=True)
    files, telling = without_names(files, pseudonyms, told_by_tags(files))
    remember(run, files[files["fetched"]], {entry.key: entry.etag for entry in images})
    gone, outside = run.withdrawn(), files["key"].str.startswith(EXTERNAL)
    # Of a set that is withdrawn as a whole, no record of its own tells.
    own = [e for e in gone if not any(_is_of(e.key, name) for name in sets)]
    stray = tuple(e.key for e in run.external() if not _is_named(e.key))
    if stray:
        log.warning("Not used, for no external set may be called so: %s.", listed(list(stray), 5))
    delivery = replace(delivery, ignored=(*delivery.ignored, *stray))
    found = understood(run, delivery, files[~outside], telling, pseudonyms, own)
    order = order_of(run.store) if sets else {}

    def of_set(name: str) -> tuple[pd.DataFrame, Telling, Pseudonyms, list[Withdrawn]]:
        here = files[files["key"].map(lambda key: _is_of(key, name))]
        return here, telling, pseudonyms, [each for each in gone if _is_of(each.key, name)]

    there, strays = {}, {}
    for name, each in sets.items():
        known, strays[name] = _vouched(each, order)
        there[name] = understood(run, known, *of_set(name))
    manifest, manifests = linked_across(found, there)
    fetched = sum(part.fetched for part in parts)
    _say(manifest, fetched, sum(map(is_safe, images)))
    tell(found.reading, found.ignored)
    return Ingested(
        manifest=run.share("manifests", to_parquet(manifest), ".parquet"),
        shards=shards_of(manifest),
        packed_px=run.config.packed_size,
        files=len(manifest),
        decoded=int(manifest["shard"].notna().sum()),
        fetched=fetched,
        tables={each.key: each.rows for each in found.reading.tables},
        ignored=found.ignored,
        rows_without_image=len(found.unmatched),
        rows_without_image_examples=tuple(found.unmatched[:10]),
        synthetic=bool(manifest["image_id"].str.startswith(SYNTHETIC_PREFIX).any()),
        reading=found.reading,
        external=tuple(
            _external(run, name, replace(each, manifest=manifests[name]), strays[name])
            for name, each in there.items()
        ),
    )


def external_sets(run: Run) -> dict[str, Delivery]:
    """The files of each external set, by its name."""
    found: dict[str, list[Entry]] = {}
    for entry in run.external():
        if _is_named(entry.key):
            found.setdefault(set_of(entry.key), []).append(entry)
    return {name: of_entries(entries) for name, entries in sorted(found.items())}


def _is_named(key: str) -> bool:
    """Whether a key is of a set: others came past `deliver`, and are not used."""
    return key.count("/") > 1 and bool(re.fullmatch(SET_NAME, set_of(key)))


def _is_of(key: str, name: str) -> bool:
    return key.startswith(EXTERNAL) and _is_named(key) and set_of(key) == name


def _vouched(delivery: Delivery, order: dict[str, int]) -> tuple[Delivery, tuple[str, ...]]:
    """A set without tables and guides for which nobody answers, and the keys of these: whoever can
    write to a store could change the labels of a set."""
    read = (*delivery.tables, *delivery.guides)
    strays = tuple(each.key for each in read if each.key not in order)
    known = replace(
        delivery,
        tables=[each for each in delivery.tables if each.key in order],
        guides=[each for each in delivery.guides if each.key in order],
        ignored=(*delivery.ignored, *strays),
    )
    return known, strays


def _external(run: Run, name: str, found: Understood, strays: tuple[str, ...]) -> ExternalSet:
    """The record of a set; `strays` came past `deliver`."""
    manifest = found.manifest
    if strays:
        log.warning(
            "External set %s: not used, as nobody is named who delivered them: %s. Enter them with "
            "python -m tasks deliver --external %s.", name, listed(list(strays), 5), name,
        )  # fmt: skip
    unread = found.reading.unread | dict.fromkeys(strays, STRAY)
    decoded = int(manifest["shard"].notna().sum())
    log.info(
        "External set %s: %d files, %d decoded. Nothing is learned from it.",
        name, len(manifest), decoded,
    )  # fmt: skip
    tell(found.reading, found.ignored)
    return ExternalSet(
        name=name,
        manifest=run.share("manifests", to_parquet(manifest), ".parquet"),
        shards=shards_of(manifest),
        files=len(manifest),
        decoded=decoded,
        ignored=found.ignored,
        rows_without_image=len(found.unmatched),
        rows_without_image_examples=tuple(found.unmatched[:10]),
        reading=found.reading.model_copy(update={"unread": unread}),
    )


def _say(manifest: pd.DataFrame, fetched: int, files: int) -> None:
    decoded = int(manifest["shard"].notna().sum())
    log.info(
        "%d files under raw/: %d decoded, %d refused; %d fetched now, %d known from earlier runs.",
        len(manifest), decoded, len(manifest) - decoded, fetched, files - fetched,
    )  # fmt: skip


def _delivered(run: Run) -> Delivery:
    """The files under ``raw/``. Raises `BadInput` if no image is among them."""
    found = of_entries(run.delivered())
    if not found.images:
        raise BadInput(
            "There is nothing to learn from.",
            expected=f"images under raw/ in {run.store.uri}, in folders named after their "
            "diagnosis, such as raw/first/Train/melanoma/ISIC_0000002.jpg",
            received=f"{len(found.tables)} tables, {len(found.ignored)} other files and no image"
            + _all_withdrawn(run),
            do="deliver images: python -m tasks deliver --store STORE --images DIR",
        )
    return found


def _all_withdrawn(run: Run) -> str:
    told = [
        f"{plural(each.files, 'file')} by entry {each.entry} of the ledger of deliveries "
        f"({each.by}: {each.reason})"
        for each in by_entry(run.withdrawn())
    ]
    return f"; withdrawn are {listed(told, 3)}" if told else ""


def _unsafe(images: list[Entry]) -> pd.DataFrame:
    """The files whose names leave their folder, or are none that a store can keep; they are not
    fetched."""
    found = [each for each in images if not is_safe(each)]
    reasons = {e.key: ODD_NAME if is_odd(e.key) else "the name holds '..'" for e in found}
    return _not_fetched(found, "unsafe_name", reasons)


def _not_fetched(entries: list[Entry], law: Law, reasons: dict[str, str]) -> pd.DataFrame:
    """Rows of files whose content nobody looks at, with the law that each breaks."""
    rows = [
        {
            "key": each.key,
            "size_bytes": each.size_bytes,
            "sha256": "",
            "law": law,
            "reason": reasons[each.key],
        }
        for each in entries
    ]
    return pd.DataFrame(rows, columns=list(FILE_TYPES)).astype(FILE_TYPES)
