"""Join what all delivered tables, and the tags of DICOMs, say about each image."""

import gc
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tasks.intake.cells import archive_of, few, spelling
from tasks.intake.contradictions import CONTRADICTABLE, Contradiction
from tasks.intake.guide import Guide
from tasks.intake.hiding import hidden
from tasks.intake.matching import Names
from tasks.intake.sheets import MAYBE_TABLES, NoTable
from tasks.intake.tables import Read, Row, read_tables
from tasks.intake.tagged import Tagged
from tasks.records.ingested import TableRead

NOTHING: tuple[object, ...] = ((), {})
LINKING = ("lesion_id", "patient_id")


@dataclass
class Joined:
    """What all tables say.

    Attributes:
        facts: Values of each image id, under the manifest's column names.
        tables: Each table that was understood.
        unread: The files that hold no table that is understood, with the reason.
        notes: What was linked or kept apart, in words.
        texts: Text files that hold no table, such as a README.
    """

    facts: dict[str, Row] = field(default_factory=dict)
    tables: list[TableRead] = field(default_factory=list)
    unread: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)


def join_tables(
    tables: Iterable[tuple[str, bytes]],
    names: Names,
    guide: Guide | None = None,
    tagged: Tagged | None = None,
) -> Joined:
    """Join what all tables, and the tags of DICOMs, say about images.

    Args:
        tables: Key and content of each file.
        names: The delivered images.
        guide: What a person says about columns and codes.
        tagged: What the tags say. They come after the tables, whose words for a site are kept.
    """
    with _uncollected():
        return _joined(tables, names, guide or Guide(), tagged)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Keep Python from looking for unused cycles among the rows, which hold none. It would take a
    third of the time."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _joined(
    tables: Iterable[tuple[str, bytes]], names: Names, guide: Guide, tagged: Tagged | None
) -> Joined:
    joined, links, later = Joined(), Links(), list[tuple[str, Read]]()
    for key, data in tables:
        try:
            near = names.near(key)
            reads = read_tables(data, near, guide, key)
        except NoTable as error:
            if key.casefold().endswith(MAYBE_TABLES):
                joined.texts.append(key)
            else:
                joined.unread[key] = str(error)
            continue
        for read in reads:
            if tagged:
                read, notes = hidden(read, names, tagged)
                joined.notes += [f"{key}: {note}" for note in notes]
            joined.notes += _personal(key, read)
            if read.by == "image_id":
                joined.tables.append(_added(joined, links, key, read, near))
            else:
                later.append((key, read))
    for row in tagged.rows() if tagged else ():
        _add(joined.facts.setdefault(row.pop("image_id"), {}), row, links)
    # What is about lesions or patients needs to know their images first.
    joined.tables += [_spread(joined, links, key, read, names) for key, read in later]
    if tagged:
        tagged.add_lesions(joined.facts)
    links.settle(joined)
    for row in joined.facts.values():
        if "other_metadata" in row:
            row["other_metadata"] = json.dumps(row["other_metadata"], ensure_ascii=False)
    return joined


def _personal(key: str, read: Read) -> list[str]:
    columns = [name for name, of in read.columns.items() if of == "ignore"]
    return [f"{key}: not kept, as columns of persons or places: {few(columns, 8)}"] * bool(columns)


def _added(joined: Joined, links: "Links", key: str, read: Read, names: Names) -> TableRead:
    note = _scope_lesions(read.rows)
    if note:
        joined.notes.append(f"{key}: {note}")
    matched, unmatched = 0, dict[str, None]()
    for row in read.rows:
        image_id = names.find(row.pop("image_id"))
        if image_id in names.ids:
            matched += 1
        else:
            unmatched[image_id] = None
        _add(joined.facts.setdefault(image_id, {}), row, links)
    return _table_read(key, read, matched, unmatched)


def _spread(joined: Joined, links: "Links", key: str, read: Read, names: Names) -> TableRead:
    """Add what a table says about lesions, or patients, to all their images."""
    images: dict[str, list[Row]] = {}
    for image_id, facts in joined.facts.items():
        if read.by in facts and image_id in names.ids:
            images.setdefault(links.root(read.by, facts[read.by]), []).append(facts)
    matched, unmatched = 0, dict[str, None]()
    for row in read.rows:
        own = images.get(links.root(read.by, row[read.by]), [])
        matched += bool(own)
        if not own:
            unmatched[row[read.by]] = None
        for facts in own:
            _add(facts, dict(row), links)
    about = f"a row of {key} is about a {read.by.removesuffix('_id')}, and counts for its images"
    joined.notes.append(about)
    return _table_read(key, read, matched, unmatched)


def _table_read(key: str, read: Read, matched: int, unmatched: dict[str, None]) -> TableRead:
    return TableRead(
        key=key,
        rows=len(read.rows),
        matched=matched,
        columns=read.columns,
        problems=read.problems,
        unmatched=tuple(unmatched)[:10],
        codes=read.codes,
    )


def _scope_lesions(rows: list[Row]) -> str:
    """Name lesions within their patient where they would else be of several patients, in place.

    One lesion of two patients is a contradiction, which a law tells. Where every fifth lesion that
    stands in several rows is of two patients, the ids are numbers within the patient.
    """
    patients: dict[str, set[str]] = {}
    counts: dict[str, int] = {}
    for row in rows:
        if "lesion_id" in row and "patient_id" in row:
            lesion = spelling(row["lesion_id"])
            patients.setdefault(lesion, set()).add(spelling(row["patient_id"]))
            counts[lesion] = counts.get(lesion, 0) + 1
    several = [lesion for lesion, count in counts.items() if count > 1]
    torn = [lesion for lesion in several if len(patients[lesion]) > 1]
    if len(torn) < 2 or len(torn) * 5 < len(several):
        return ""
    for row in rows:
        if "lesion_id" in row and "patient_id" in row:
            row["lesion_id"] = f"{row['patient_id']}/{row['lesion_id']}"
    return f"lesion ids such as {few(torn)} are of several patients, so they count within a patient"


def _add(kept: Row, row: Row, links: "Links") -> None:
    """Add the values of a row to those that are known. The first value stays."""
    if not kept:
        kept |= {name: value for name, value in row.items() if value not in NOTHING}
        return
    codes = (*kept.get("archive_diagnosis", ()), *row.pop("archive_diagnosis", ()))
    if codes:
        kept["archive_diagnosis"] = tuple(dict.fromkeys(codes))
    for name in CONTRADICTABLE:
        if kept.get(name, row.get(name)) == row.get(name, kept.get(name)):
            continue
        if name in LINKING and links.are_one(name, kept[name], row[name]):
            continue
        one, other = (f"{v:g}" if isinstance(v, float) else v for v in (kept[name], row[name]))
        notes = (*kept.get("contradiction", ()), Contradiction(name, one, other))
        kept["contradiction"] = tuple(dict.fromkeys(notes))
    others = row.pop("other_metadata", {}) | kept.get("other_metadata", {})
    if others:
        kept["other_metadata"] = others
    for name, value in row.items():
        kept.setdefault(name, value)


class Links:
    """Which ids name one lesion, or one patient.

    Two spellings of one id do. So do ids of two archives that tables give to one image, such as
    ``IL_0000001`` and ``HAM_0000118``; two ids of one archive contradict each other. The keyed hash
    of a DICOM's patient links with any id that is none: a table whose ids are those in the tags has
    keyed hashes too by now, so the others are of another naming.
    """

    def __init__(self) -> None:
        self.parents: dict[tuple[str, str], str] = {}

    def are_one(self, name: str, one: str, other: str) -> bool:
        """Whether two ids of one image name one thing; remembers it."""
        if spelling(one) != spelling(other):
            archives = {archive_of(each) for each in (one, other)}
            if len(archives) == 1 or (None in archives and archives != {None, "dicom"}):
                return False
        first, second = (self._root(name, spelling(each)) for each in (one, other))
        self.parents[name, max(first, second)] = min(first, second)
        return True

    def root(self, name: str, text: str) -> str:
        """What all ids of one thing have in common."""
        return self._root(name, spelling(text))

    def _root(self, name: str, short: str) -> str:
        while self.parents.get((name, short), short) != short:
            short = self.parents[name, short]
        return short

    def settle(self, joined: Joined) -> None:
        """Give each thing one id, the first of its spellings, in place."""
        for name in LINKING:
            first: dict[str, str] = {}
            spellings: dict[str, set[str]] = {}
            for row in joined.facts.values():
                if name in row:
                    root = self._root(name, spelling(row[name]))
                    spellings.setdefault(root, set()).add(row[name])
                    row[name] = first.setdefault(root, row[name])
            linked = [found for found in spellings.values() if len(found) > 1]
            if linked:
                joined.notes.append(
                    f"{len(linked)} {name.removesuffix('_id')}s stand under several names, which "
                    f"count as one: {few(sorted(linked[0]))}"
                )
