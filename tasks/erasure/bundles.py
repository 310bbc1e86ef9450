"""The bundles of evidence that lose something: their gap is written first, then their files."""

from tasks.engine.erasures import Erasing
from tasks.engine.ledger import Entry
from tasks.engine.signing import KEY, keys_here
from tasks.engine.store import Store
from tasks.erasure.objects import Work
from tasks.erasure.scope import Scope, read_columns
from tasks.errors import BadInput
from tasks.records.record import sha256
from tasks.release.evidence import FOLDER, MANIFEST, SIGNATURE, Bundle
from tasks.release.gaps import GAPS, Gaps, Hole, Told, gaps_from
from tasks.release.signature import sign_bundle, why_not


def bundle_of(key: str) -> tuple[str, str] | None:
    """Run and path inside its bundle of a key; None for an object of no bundle."""
    parts = key.split("/")
    inside = len(parts) > 3 and parts[0] == "runs" and parts[2] == FOLDER
    return (parts[1], "/".join(parts[3:])) if inside else None


def check_can_seal(store: Store, scope: Scope) -> None:
    """Check that the gap of each signed bundle can be signed, before anything is changed.

    Raises:
        BadInput: A bundle is signed, and this process has no key.
    """
    keys = keys_here()
    keys.check_can_sign()
    for run in scope.runs:
        if not keys.private and any(store.list(f"runs/{run}/{FOLDER}/{SIGNATURE}")):
            raise BadInput(
                "Nothing was erased: the evidence is signed, and its gap must be signed too.",
                expected=f"{KEY}, the file of the private key",
                received=f"no key, and a signed bundle of run {run}",
                do=f"set {KEY}",
            )


def write_gaps(store: Store, scope: Scope, work: list[Work], entry: Entry, fact: Erasing) -> None:
    """Tell, in each sealed bundle that loses something, what it loses, by whom and why.

    Args:
        store: The store.
        scope: What is erased.
        work: The objects that change.
        entry: The entry of the ledger that says so.
        fact: What the entry says.
    """
    holes: dict[str, dict[str, Hole]] = {}
    for each in work:
        place = bundle_of(each.key)
        if place and each.now is not None:
            hole = Hole(was=sha256(each.was), now=sha256(each.now))
            holes.setdefault(place[0], {})[place[1]] = hole
    for run, files in holes.items():
        folder = f"runs/{run}/{FOLDER}/"
        if not any(store.list(folder + MANIFEST)):
            continue  # never finished: nobody relies on it
        now = Bundle(f"{store.uri}/{folder.rstrip('/')}").gaps
        before = now.files if now else {}
        told = Told(
            entry=entry.number,
            at=entry.at,
            by=fact.by.in_words,
            reason=fact.reason,
            images=_held(store, folder, scope),
        )
        others = tuple(each for each in (now.erasures if now else ()) if each != told)
        gaps = Gaps(
            erasures=(*others, told),
            files=before
            | {
                path: Hole(was=before[path].was if path in before else hole.was, now=hole.now)
                for path, hole in files.items()
            },
        )
        gaps_from(gaps.data)  # raises where a file may have none
        store.replace(folder + GAPS, gaps.data)


def sign_gaps(store: Store, scope: Scope) -> None:
    """Sign each signed bundle anew whose signature no longer holds since it has a gap."""
    for run in scope.runs:
        folder = f"runs/{run}/{FOLDER}/"
        there = {entry.key.removeprefix(folder) for entry in store.list(folder)}
        bundle = Bundle(f"{store.uri}/runs/{run}/{FOLDER}")
        if {SIGNATURE, GAPS} <= there and why_not(bundle)[0]:
            sign_bundle(bundle)


def _held(store: Store, folder: str, scope: Scope) -> int:
    """How many of the images a bundle is about."""
    found: set[str] = set()
    for entry in store.list(f"{folder}ingest/"):
        if entry.key.endswith(".parquet"):
            ids = read_columns(store.read(entry.key), ("image_id",))
            found |= set(ids["image_id"].astype(str)) & scope.images
    return len(found)
