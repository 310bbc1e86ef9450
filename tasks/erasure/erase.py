"""erase: take an image, or all images of a patient, out of a store and out of MLflow, for good.

An entry in the ledger of erasures says first what will be changed. The same command completes an
erasure that was killed. The last entry says what was done, and which models used the image: a
network cannot unlearn. docs/erasure.md lists every place where something of an image may lie.
"""

import json
import logging
from dataclasses import dataclass

from pydantic import ValidationError

from tasks.engine.erasures import (
    OPEN,
    Asked,
    Change,
    Erased,
    Erasing,
    Erasures,
    Learned,
    append,
    erasures_in,
)
from tasks.engine.ledger import Entry
from tasks.engine.person import Person
from tasks.engine.store import Store
from tasks.erasure import objects
from tasks.erasure.bundles import check_can_seal, sign_gaps, write_gaps
from tasks.erasure.delivered import Found, Known, delivered, guide_in
from tasks.erasure.learned import is_finished, learned_from
from tasks.erasure.mentions import Mentions
from tasks.erasure.pages import renew_pages
from tasks.erasure.scope import DELIVERED, Scope, columns_of, names_here, read_columns, scope_of
from tasks.erasure.without import digest_of
from tasks.errors import BadInput, NotFound
from tasks.figures import listed, plural
from tasks.intake.matching import Names
from tasks.intake.pseudonyms import of_store
from tasks.records.record import sha256

log = logging.getLogger("tasks")

EXAMPLES = 5  # of files that were not looked into


@dataclass(frozen=True)
class Outcome:
    """What an erasure came to.

    Attributes:
        entry: Number of the last entry in the ledger of erasures.
        images: Number of images.
        objects: Number of objects that were changed or removed; 0 where all was done before.
        learned: The runs that used an image, and their models.
        at: When it was complete, UTC, ISO 8601.
        unseen: Delivered files that were not looked into and may hold something, see
            `tasks.erasure.delivered`; None if nobody counted them.
    """

    entry: int
    images: int
    objects: int
    learned: tuple[Learned, ...]
    at: str
    unseen: tuple[str, ...] | None = None


def erase(
    store: Store, asked: Asked, name: str, by: Person, reason: str, *, stop_runs: bool = False
) -> Outcome:
    """Erase an image, or all images of a patient, under all names.

    Args:
        store: The store.
        asked: What is named.
        name: Its id, as it stands in the manifest; of a patient, also the number in the tags of
            DICOMs.
        by: Who erases.
        reason: Why, in the person's words.
        stop_runs: Let runs that hold an image and are not finished end here.

    Raises:
        BadInput: The store holds nothing of it; or there is no reason; or a run that holds an image
            is not finished; or a bundle is signed and there is no key. Nothing was changed.
        Corrupt: The ledger of erasures, or a bundle's gap, is damaged.
        Momentary: The store or MLflow failed. The same command goes on.
    """
    reason = " ".join(reason.split())
    if not reason or not by.name:
        raise BadInput(
            "An erasure needs a person and a reason.",
            expected="--reason TEXT, and a known person",
            received=f"reason {reason!r}, by {by.in_words}",
            do="say why, for example: consent withdrawn",
        )
    name, number = names_here(store, asked, name)
    now = erasures_in(store)
    digest = sha256(name.encode())
    plan, began = _plan_of(store, asked, digest), now.open_of(asked, digest)
    if began and plan is None:  # killed when all was done but the last entry
        return _complete(store, asked, digest, began, [])
    scope = _scope(store, asked, name, plan, now)
    if scope is None:
        return _outcome(now, asked, digest, objects=0)
    check_can_seal(store, scope)
    _check_runs(store, scope, now, stop=stop_runs)
    found = _found(store, scope)
    work = [*objects.sealed(store, scope), *found.work]
    if not work and not began and now.done(asked, digest):
        return _outcome(now, asked, digest, objects=0, unseen=found.unseen)
    scope = scope.model_copy(update={"number": number})
    store.replace(_plan_key(asked, digest), scope.model_dump_json().encode())
    first = _begin(store, scope, work, by, reason)
    also = _change(store, scope, work, erasures_in(store))
    store.delete(_plan_key(asked, digest))
    return _complete(store, asked, digest, first, also, found.unseen)


def _plan_key(asked: Asked, digest: str) -> str:
    return f"{OPEN}{asked}-{digest[:16]}.json"


def _plan_of(store: Store, asked: Asked, digest: str) -> Scope | None:
    """What an attempt that was killed has found to erase."""
    try:
        return Scope.model_validate_json(store.read(_plan_key(asked, digest)))
    except (NotFound, ValidationError):
        return None


def _scope(
    store: Store, asked: Asked, name: str, plan: Scope | None, now: Erasures
) -> Scope | None:
    """What is to be erased, with what an attempt that was killed has found; None if it is done."""
    try:
        found = scope_of(store, asked, name)
    except BadInput:
        if plan is None and not now.done(asked, sha256(name.encode())):
            raise
        return plan
    return found.joined(plan) if plan else found


def _images_in(store: Store) -> dict[str, str]:
    """The id of each image of the store by the key of its file, by which delivered rows name it."""
    found: dict[str, str] = {}
    for prefix in ("shared/manifests/", "runs/"):
        for entry in store.list(prefix):
            if entry.key.endswith(".parquet"):
                data = store.read(entry.key)
                if {"key", "image_id"} <= set(columns_of(data)):
                    rows = read_columns(data, ("key", "image_id"))
                    found |= dict(zip(rows["key"], rows["image_id"], strict=True))
    return found


def _found(store: Store, scope: Scope) -> Found:
    """What becomes of what was delivered."""
    images = _images_in(store)
    named = of_store(store)
    mentions = Mentions(scope, Names(images.items()), lambda cell: named.of("patient", cell, ""))
    return delivered(store, Known(frozenset(images), guide_in(store)), mentions)


def _check_runs(store: Store, scope: Scope, now: Erasures, *, stop: bool) -> None:
    unfinished = [run for run in scope.runs if not now.stops(run) and not is_finished(store, run)]
    if unfinished and not stop:
        raise BadInput(
            "Nothing was erased: runs that hold it are not finished.",
            expected="finished runs, or --stop-runs",
            received=f"{len(unfinished)} without a verdict and its registration: "
            + ", ".join(unfinished[:5]),
            do="let them end; or end their processes and give --stop-runs, after which no step of "
            "these runs goes on",
        )


def _begin(store: Store, scope: Scope, work: list[objects.Work], by: Person, reason: str) -> int:
    """Write the intention, unless it stands; returns the number of the erasure's first entry."""
    changes = tuple(map(_change_of, work))

    def said(now: Erasures) -> Erasing | None:
        began = now.open_of(scope.asked, scope.name_sha256)
        told = {
            change
            for number, fact in now.begun.items()
            if began and number >= began
            for change in fact.changes
        }
        if began and told >= set(changes):
            return None
        return Erasing(
            by=by,
            reason=reason,
            asked=scope.asked,
            asked_sha256=scope.name_sha256,
            images=tuple(sorted(sha256(each.encode()) for each in scope.images)),
            files=tuple(sorted(scope.files)),
            pixels=tuple(sorted(scope.pixels)),
            runs=scope.runs,
            changes=changes,
            learned=learned_from(store, scope),
        )

    append(store, said)
    first = erasures_in(store).open_of(scope.asked, scope.name_sha256)
    assert first
    return first


def _change_of(work: objects.Work) -> Change:
    shown = work.key
    if shown.startswith(DELIVERED):  # a file's name may be an id
        shown = "/".join(shown.split("/")[:2])
    return Change(
        key=shown,
        key_sha256=sha256(work.key.encode()),
        was=sha256(work.was),
        now=digest_of(work.now),
    )


def _change(store: Store, scope: Scope, work: list[objects.Work], now: Erasures) -> list[Change]:
    """Do the work; returns the changes that the intention does not name."""
    entry, fact = _last_intention(now, scope)
    write_gaps(store, scope, work, entry, fact)
    for each in work:
        _carry_out(store, each)
    sign_gaps(store, scope)
    beside = list(objects.beside(store, scope))
    for each in beside:
        _carry_out(store, each)
    for key in objects.pointers(store, scope):
        store.delete(key)
    renewed = renew_pages(store, scope)
    return [*map(_change_of, beside), *renewed]


def _last_intention(now: Erasures, scope: Scope) -> tuple[Entry, Erasing]:
    first = now.open_of(scope.asked, scope.name_sha256)
    own = [
        (entry, fact)
        for entry, fact in now.entries
        if isinstance(fact, Erasing)
        and fact.asked_sha256 == scope.name_sha256
        and first
        and entry.number >= first
    ]
    return own[-1]


def _carry_out(store: Store, work: objects.Work) -> None:
    if work.now is None:
        store.delete(work.key)
    elif work.place and work.place != work.key:
        store.replace(work.place, work.now)
        store.delete(work.key)
    else:
        store.replace(work.key, work.now)


def _complete(
    store: Store,
    asked: Asked,
    digest: str,
    first: int,
    also: list[Change],
    unseen: tuple[str, ...] | None = None,
) -> Outcome:
    """Write the last entry. Without `unseen`, nobody counted what was not looked into."""
    count = None if unseen is None else len(unseen)
    fact = Erased(completes=first, also=tuple(also), unseen=count)
    append(store, lambda now: fact if now.open_of(asked, digest) == first else None)
    now = erasures_in(store)
    own = [
        each
        for number, began in now.begun.items()
        if number >= first and (began.asked, began.asked_sha256) == (asked, digest)
        for each in began.changes
    ]
    changed = len({each.key_sha256 for each in (*own, *also)})
    return _outcome(now, asked, digest, objects=changed, unseen=unseen)


def _outcome(
    now: Erasures,
    asked: Asked,
    digest: str,
    *,
    objects: int,
    unseen: tuple[str, ...] | None = None,
) -> Outcome:
    """What the last erasure of an id came to."""
    done = now.done(asked, digest)
    assert done
    fact = next(fact for entry, fact in now.entries if entry.number == done.number)
    assert isinstance(fact, Erased)
    began = now.begun[fact.completes]
    return Outcome(done.number, len(began.images), objects, began.learned, done.at, unseen)


def in_words(outcome: Outcome, asked: Asked) -> list[str]:
    """What a person is told."""
    if not outcome.objects:
        return [
            f"This {asked} was erased before, on {outcome.at}: entry {outcome.entry} of the ledger "
            "of erasures. Nothing of it was found since, and nothing was changed.",
            *_unseen_in_words(outcome),
        ]
    told = [
        f"Erased: {outcome.images} image(s), in {outcome.objects} objects. Entry {outcome.entry} "
        "of the ledger of erasures says who, when and why.",
    ]
    for each in outcome.learned:
        sides = ", ".join(f"{count} in {side}" for side, count in sorted(each.sides.items()))
        model = f"version {each.version} of the model" if each.version else "no registered model"
        told.append(f"Run {each.run} ({model}) held {sides}.")
    if any(each.sides.get("train") or each.sides.get("validation") for each in outcome.learned):
        told.append(
            "A network that learned from an image cannot unlearn it. Start a new run, which does "
            "not see it, and let people decide whether the new model replaces these versions."
        )
    if any(each.sides.get("test") for each in outcome.learned):
        told.append(
            "An image on which a model was judged counts as a miss for models to come, so that "
            "nobody gains by an erasure."
        )
    told += _unseen_in_words(outcome)
    told.append(
        "Not reached: backups, earlier versions of objects that a bucket keeps, copies of evidence "
        "that were passed on, and texts in Airflow's database. Names of images stay in the "
        "append-only ledgers and in signed records: see docs/erasure.md."
    )
    return told


def _unseen_in_words(outcome: Outcome) -> list[str]:
    if outcome.unseen is None:
        return ["Delivered files that were not looked into were not counted."]
    if not outcome.unseen:
        return []
    count = plural(len(outcome.unseen), "delivered file")
    return [
        f"Look into these yourself: {count} may still hold something, as archives, other unknown "
        f"files and JSON do: {listed(list(outcome.unseen), EXAMPLES)}."
    ]


def as_json(outcome: Outcome) -> str:
    """The outcome as JSON."""
    learned = [each.model_dump(mode="json") for each in outcome.learned]
    return json.dumps(outcome.__dict__ | {"learned": learned}, indent=1)
