"""inspect: say what the folders and tables of a delivery mean, before anything is copied.

No image is decoded, so the answer takes seconds. What only pixels can tell, such as two images
under one name, is told by the first run.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import yaml

from tasks.errors import BadInput
from tasks.figures import listed, plural
from tasks.intake.contents import withheld
from tasks.intake.derived_names import in_words as copies_in_words
from tasks.intake.dicom_file import header_of
from tasks.intake.dicom_tags import names_its_patient, tags_alone
from tasks.intake.folder import ODD_NAME, Found, found_in, is_odd
from tasks.intake.folders import folder_means, is_negated, label_by, suggestion_for
from tasks.intake.forms import unread_forms
from tasks.intake.guide import NAME, Guide, guide_of, source_by
from tasks.intake.joining import Joined, join_tables
from tasks.intake.matching import Names
from tasks.intake.pseudonyms import Pseudonyms, for_now
from tasks.intake.sheets import TABLE_SUFFIXES
from tasks.intake.tagged import Tagged, TaggedFile
from tasks.intake.telling import Telling
from tasks.lesions import Diagnosis, image_id_from, is_image

MOST_SOURCES = 10  # that a draft proposes


@dataclass
class Inspection:
    """What a delivery means.

    Attributes:
        labels: Images by class; None counts those without a label.
        folders: Images by folder and what the folder means, in words.
        joined: What the tables say.
        named: Image ids that a row of a table names.
        images: All image ids.
        lesions: Number of distinct lesions, and of the images that have one.
        patients: Likewise.
        ignored: Files that are neither image nor table.
        hidden: Hidden files and folders, which are left out.
        odd: Images whose names no store could keep: quarantined as ``unsafe_name``.
        sources: Images by source.
        without_source: Name of the delivery of each image id whose source is not known.
        beside: Ids of images that the store holds already.
        copies: What is named as a copy of another image, in a sentence.
        idle: Tables and folders of which the guide speaks, and that are not delivered.
        dicoms: Number of DICOMs.
        naming: Number of files whose names tell who the patient of a DICOM is.
        external: Whether models are judged on the delivery, and never learn from it.
    """

    labels: Counter[Diagnosis | None] = field(default_factory=Counter)
    folders: dict[str, tuple[int, str]] = field(default_factory=dict)
    joined: Joined = field(default_factory=Joined)
    named: set[str] = field(default_factory=set)
    images: set[str] = field(default_factory=set)
    lesions: tuple[int, int] = (0, 0)
    patients: tuple[int, int] = (0, 0)
    ignored: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)
    sources: Counter[str] = field(default_factory=Counter)
    without_source: dict[str, str] = field(default_factory=dict)
    beside: set[str] = field(default_factory=set)
    copies: str = ""
    idle: list[str] = field(default_factory=list)
    dicoms: int = 0
    naming: int = 0
    external: bool = False

    @property
    def unread(self) -> list[str]:
        """What is not understood where going on would be guessing, in words."""
        found = [f"{key}: {reason}" for key, reason in self.joined.unread.items()]
        for each in self.joined.tables:
            found += [f"{each.key}: {problem}" for problem in each.problems]
            if each.rows and not each.matched:
                rows, images = ", ".join(each.unmatched[:3]), _some(self.images or self.beside)
                found.append(
                    f"{each.key}: none of {each.rows} rows names a delivered image; they name "
                    f"{rows}, and images are called {images}"
                )
            if each.codes:
                codes = ", ".join(_asked(code, rows) for code, rows in each.codes.items())
                found.append(f"{each.key}: diagnoses that are not understood: {codes[:300]}")
        return found

    def check(self) -> None:
        """Raise `BadInput` if anything is not understood that a person must say."""
        if self.unread:
            raise BadInput(
                "Something that was delivered is not understood, and would not be used.",
                expected="tables, columns and codes that `python -m tasks inspect` understands",
                received="; ".join(self.unread[:5])
                + (f"; and {len(self.unread) - 5} more" if len(self.unread) > 5 else ""),
                do=f"say what they mean in {NAME} (`python -m tasks inspect ... --write` drafts "
                "one), correct the files, or deliver them unread with --accept-unread",
            )

    @property
    def told(self) -> list[str]:
        """What is missing and what that means, in sentences."""
        count = len(self.images)
        said = list(self.joined.notes)
        if self.copies:
            said.append(self.copies)
        if self.naming:
            said.append(
                f"The names of {plural(self.naming, 'file')}, or of folders above, tell who the "
                "patient of a DICOM is: rename them, or nothing is delivered."
            )
        without = count - self.lesions[1]
        if count and without:
            which = f"{without} of {count} images have no lesion id"
            unless = "unless a table of the store names them, " if self.beside else ""
            costs = "of one lesion may stand on both sides of the split"
            if self.external:
                costs = "of one lesion count as several lesions, and bounds are too narrow"
            said.append(
                f"{'No table names lesions' if without == count else which}: {unless}photographs "
                f"{costs}."
            )
        nameless = len(self.images - self.named)
        if self.joined.tables and nameless:
            some = _some(self.images - self.named)
            said.append(f"{nameless} of {count} images stand in no table, such as {some}.")
        if self.labels[None]:
            costs = "quarantined as unknown_label"
            if self.external:
                costs = "counts if its row or folder says whether it is melanoma"
            said.append(f"{plural(self.labels[None], 'image')} without a class: {costs}.")
        if self.idle:
            said.append(f"{NAME} speaks of what is not there: {listed(self.idle, 3)}.")
        if self.odd:
            said.append(
                f"{plural(len(self.odd), 'image')} with a name that no store can keep, such as "
                f"{self.odd[0]}: quarantined as unsafe_name."
            )
        if self.hidden:
            some = listed(self.hidden, 3)
            said.append(f"{len(self.hidden)} hidden files and folders are left out: {some}.")
        return said

    @property
    def in_short(self) -> list[str]:
        """The whole in a few sentences, for who delivers."""
        labels = ", ".join(f"{name or 'without'} {n}" for name, n in self.labels.most_common())
        files = self.labels.total()
        within = f" in {files} files" if files != len(self.images) else ""
        said = [f"{len(self.images)} images{within}. Labels: {labels}."] if self.images else []
        said += [
            f"{each.key}: {each.rows} rows, {each.matched} of them of images that are there."
            for each in self.joined.tables
        ]
        if self.images:
            said.append(
                f"{self.lesions[0]} lesions of {self.lesions[1]} images, {self.patients[0]} "
                f"patients of {self.patients[1]} images; sources: "
                + ", ".join(f"{name} {n}" for name, n in self.sources.most_common(5))
                + "."
            )
        if self.ignored:
            count, some = plural(len(self.ignored), "file"), listed(self.ignored, 3)
            said.append(f"Neither image nor table: {count}, such as {some}.")
        return [*said, *self.told]


def inspected(files: Mapping[str, Path], guide: Guide, beside: Iterable[str] = ()) -> Inspection:
    """What the files of a delivery mean.

    Args:
        files: Path of each file by the key that the file would have in a store.
        guide: What a person says.
        beside: Keys of images that the store holds already; tables may be about these too.
    """
    told = Inspection()
    pseudonyms = for_now()
    named, headers = names_withheld(files, pseudonyms)
    files = {named.get(key, key): path for key, path in files.items()}
    told.naming = len(named)
    images = [key for key in files if is_image(key)]
    tables = [key for key in files if key.casefold().endswith(TABLE_SUFFIXES)]
    known = {*images, *tables}
    told.odd = [key for key in images if is_odd(key)]
    images = [key for key in images if not is_odd(key)]
    told.ignored = [key for key in files if key not in known and not key.endswith(f"/{NAME}")]
    ids = {key: image_id_from(key) for key in images}
    told.images = set(ids.values())
    there = [(key, image_id_from(key)) for key in beside]
    told.beside = {image_id for _, image_id in there}
    told.copies = copies_in_words(
        *(pd.DataFrame(each, columns=["key", "image_id"]) for each in ([*ids.items()], there))
    )
    names = Names(
        (*ids.items(), *there), {image_id_from(key): image_id_from(of) for key, of in named.items()}
    )
    contents = ((key, files[key].read_bytes()) for key in tables if not is_odd(key))
    tags = {
        ids[key]: tags_alone(data, pseudonyms).told()
        for key, data in ((named.get(key, key), data) for key, data in headers.items())
        if key in ids
    }
    told.dicoms = len(tags)
    tagged = Tagged([TaggedFile(*each) for each in tags.items()], pseudonyms)
    told.joined = join_tables(contents, names, guide, tagged)
    told.joined.unread |= {key: ODD_NAME for key in tables if is_odd(key)}
    told.joined.unread |= unread_forms(told.ignored)
    told.ignored += told.joined.texts
    told.idle = guide.idle(files)
    facts = told.joined.facts
    told.named = told.images & facts.keys()
    counts: Counter[str] = Counter()
    for key, image_id in ids.items():
        folder = key.split("/")[-2]
        counts[folder] += 1
        codes = facts.get(image_id, {}).get("archive_diagnosis", ())
        told.labels[label_by(folder, codes, coarse_codes={}, guide=guide)] += 1
        source = source_by(key, image_id, guide, tags.get(image_id, {}).get("device", ""))
        told.sources[source] += 1
        if source == "unknown":
            told.without_source[image_id] = key.split("/")[1]
    told.folders = {name: (count, _meaning(name, guide)) for name, count in counts.most_common()}
    told.lesions = _distinct(told, "lesion_id")
    told.patients = _distinct(told, "patient_id")
    return told


def names_withheld(
    files: Mapping[str, Path], pseudonyms: Pseudonyms
) -> tuple[dict[str, str], dict[str, bytes]]:
    """What stands for the keys that tell who a patient is: the patient of a DICOM itself, or of any
    other; and the header of each DICOM, by key."""
    headers = {key: header_of(files[key]) for key in files if is_image(key)}
    found = {key: data for key, data in headers.items() if data}
    telling = Telling((tags_alone(data, pseudonyms).told() for data in found.values()), pseudonyms)
    named = [
        key
        for key in files
        if (key in found and names_its_patient(key, found[key])) or telling.tells(key)
    ]
    return {key: withheld(key, pseudonyms) for key in named}, found


def check_names(files: Mapping[str, Path]) -> None:
    """Raise `BadInput` if the name of a file, or of a folder above it, tells who the patient of a
    DICOM is.

    The message repeats no name: it goes into logs.
    """
    named, headers = names_withheld(files, for_now())
    if named:
        places = [number for number, key in enumerate(sorted(files), start=1) if key in named]
        dicoms = len(named.keys() & headers.keys())
        raise BadInput(
            "Names of files or folders tell who a patient is. Nothing was copied.",
            expected="names without a patient's name, number or date of birth: names of files "
            "stand in records, logs and reports",
            received=f"{dicoms} of {plural(len(headers), 'DICOM')} and "
            f"{plural(len(named) - dicoms, 'other file')} whose names hold what stands in the tags "
            f"of a DICOM; in the order of all paths, number {listed(list(map(str, places)), 5)}",
            do="rename files and folders, to running numbers for example; the tags may stay as "
            "they are: patients are linked by a keyed hash of their number",
        )


def _distinct(told: Inspection, name: str) -> tuple[int, int]:
    found = [told.joined.facts[i][name] for i in told.named if name in told.joined.facts[i]]
    return len(set(found)), len(found)


def _some(names: Iterable[str]) -> str:
    return listed(sorted(names)[:3], 3)


def _asked(code: str, rows: int) -> str:
    """A code that is not understood, and what it may mean."""
    meant = suggestion_for(code)
    return f"{code!r} ({rows} rows{f'; {meant}?' if meant else ''})"


def _meaning(folder: str, guide: Guide) -> str:
    label = label_by(folder, (), coarse_codes={}, guide=guide)
    if label:
        return label
    if is_negated(folder):
        return "what its images are not: no label"
    coarse = folder_means(folder) or ()
    if len(coarse) > 1:
        return f"no class; one of: {', '.join(coarse)}"
    meant = suggestion_for(folder)
    return f"no class; {meant}?" if meant else "no class"


def inspected_folders(
    images: Path, metadata: Path | None, reading: Path | None = None
) -> Inspection:
    """What two folders mean, as they would be delivered to a new store. Raises `BadInput`."""
    name = images.resolve().name
    found = found_in(images, "images")
    tables = found_in(metadata, "metadata") if metadata else Found()
    files = {f"raw/{name}/{each.within}": each.path for each in found.files}
    files |= {f"raw/metadata/{each.within}": each.path for each in tables.files}
    told = inspected(files, guides_of(files, reading))
    told.hidden = [*found.hidden, *tables.hidden]
    return told


def guides_of(files: Mapping[str, Path], reading: Path | None = None) -> Guide:
    """What the guides among the files, and another one, say. Raises `BadInput`."""
    found = [(key, path.read_bytes()) for key, path in files.items() if key.endswith(f"/{NAME}")]
    if reading:
        try:
            found.append((str(reading), reading.read_bytes()))
        except OSError as error:
            raise BadInput(
                "The reading cannot be opened.",
                expected=f"a file {NAME}",
                received=f"{error.strerror}: {str(reading)!a}",
                do="correct --reading",
            ) from error
    return guide_of(found)


def draft(told: Inspection) -> str:
    """A draft of ``reading.yaml`` with what is not understood, to be completed by a person."""
    folders = {
        name: suggestion_for(name) or "none"
        for name, (_, meaning) in told.folders.items()
        if meaning.startswith(("no class", "what"))
    }
    codes = {
        code: suggestion_for(code) or "none" for each in told.joined.tables for code in each.codes
    }
    columns = {
        each.key.rpartition("/")[2]: {name: of or "ignore" for name, of in each.columns.items()}
        for each in told.joined.tables
        if each.problems
    }
    sources = _drafted_sources(told.without_source)
    said = {"columns": columns, "codes": codes, "folders": folders, "sources": sources}
    head = (
        "# What a person says about this delivery. Correct each line, and lay the file beside\n"
        "# the images or tables. A class is one of the nine, or none. A column is image_id,\n"
        "# lesion_id, patient_id, age_years, sex, site, diagnosis or ignore. A source is a clinic\n"
        "# or a camera, by folder or by image id; * stands for anything.\n"
    )
    return head + yaml.safe_dump({k: v for k, v in said.items() if v}, sort_keys=False)


def _drafted_sources(unknown: Mapping[str, str]) -> dict[str, str]:
    """A source for the letters that ids of a delivery begin with, if a few beginnings cover all its
    images; else for each delivery."""
    begins = Counter(found[0] for name in unknown if (found := re.match(r"[^\W\d]+", name)))
    deliveries = sorted(set(unknown.values()))
    few = 1 < len(begins) <= MOST_SOURCES and begins.total() == len(unknown)
    if len(deliveries) != 1 or not few:
        return {name: name for name in deliveries}
    longest_first = sorted(begins, key=lambda each: (-len(each), each))
    name = deliveries[0]
    return {f"{name}/{begin}*": begin.strip("_") or begin for begin in longest_first}


def as_json(told: Inspection) -> str:
    """Everything, for programs."""
    return json.dumps(
        {
            "images": len(told.images),
            "labels": {name or "without": count for name, count in told.labels.items()},
            "folders": {name: {"files": n, "means": of} for name, (n, of) in told.folders.items()},
            "tables": [each.model_dump(mode="json") for each in told.joined.tables],
            "unread": told.unread,
            "dicoms": told.dicoms,
            "named_after_patients": told.naming,
            "lesions": told.lesions[0],
            "patients": told.patients[0],
            "told": told.told,
            "ignored": told.ignored,
            "hidden": told.hidden,
            "sources": dict(told.sources.most_common()),
        },
        indent=1,
        ensure_ascii=False,
    )
