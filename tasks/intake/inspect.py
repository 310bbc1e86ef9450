"""inspect: say what the folders and tables of a delivery mean, before anything is copied.

No image is decoded, so the answer takes seconds. What only pixels can tell, such as two images
under one name, is told by the first run.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from tasks.errors import BadInput
from tasks.figures import listed, plural
from tasks.intake.contents import withheld
from tasks.intake.dicom import names_its_patient, tags_alone
from tasks.intake.dicom_file import header_of
from tasks.intake.folder import files_in
from tasks.intake.folders import is_negated, label_by, suggestion_for
from tasks.intake.guide import NAME, Guide, guide_of
from tasks.intake.joining import Joined, join_tables
from tasks.intake.matching import Names
from tasks.intake.pseudonyms import Pseudonyms, for_now
from tasks.intake.sheets import TABLE_SUFFIXES
from tasks.intake.tagged import Tagged, TaggedFile
from tasks.lesions import Diagnosis, image_id_from, is_image


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
        dicoms: Number of DICOMs.
        naming: Number of DICOMs whose names tell who the patient is.
    """

    labels: Counter[Diagnosis | None] = field(default_factory=Counter)
    folders: dict[str, tuple[int, str]] = field(default_factory=dict)
    joined: Joined = field(default_factory=Joined)
    named: set[str] = field(default_factory=set)
    images: set[str] = field(default_factory=set)
    lesions: tuple[int, int] = (0, 0)
    patients: tuple[int, int] = (0, 0)
    ignored: list[str] = field(default_factory=list)
    dicoms: int = 0
    naming: int = 0

    @property
    def unread(self) -> list[str]:
        """What is not understood where going on would be guessing, in words."""
        found = [f"{key}: {reason}" for key, reason in self.joined.unread.items()]
        for each in self.joined.tables:
            found += [f"{each.key}: {problem}" for problem in each.problems]
            if each.rows and not each.matched:
                rows, images = listed(list(each.unmatched), 3), listed(sorted(self.images)[:3], 3)
                found.append(
                    f"{each.key}: no row names a delivered image; rows name {rows}, images are "
                    f"called {images}"
                )
            if each.codes:
                codes = ", ".join(f"{code!r} ({rows} rows)" for code, rows in each.codes.items())
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
        if self.naming:
            said.append(
                f"The names of {plural(self.naming, 'DICOM')}, or of folders above, tell who the "
                "patient is: rename them, or nothing is delivered."
            )
        without = count - self.lesions[1]
        if count and without:
            which = f"{without} of {count} images have no lesion id"
            said.append(
                f"{'No table names lesions' if without == count else which}: photographs of one "
                "lesion may stand on both sides of the split."
            )
        nameless = len(self.images - self.named)
        if self.joined.tables and nameless:
            some = listed(sorted(self.images - self.named)[:3], 3)
            said.append(f"{nameless} of {count} images stand in no table, such as {some}.")
        if self.labels[None]:
            said.append(
                f"{plural(self.labels[None], 'image')} without a label: quarantined as "
                "unknown_label."
            )
        return said


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
    told.ignored = [key for key in files if key not in known and not key.endswith(f"/{NAME}")]
    ids = {key: image_id_from(key) for key in images}
    told.images = set(ids.values())
    names = Names(
        (*ids.items(), *((key, image_id_from(key)) for key in beside)),
        {image_id_from(key): image_id_from(of) for key, of in named.items()},
    )
    contents = ((key, files[key].read_bytes()) for key in tables)
    tagged = [
        TaggedFile(ids[key], tags_alone(data, pseudonyms).told())
        for key, data in ((named.get(key, key), data) for key, data in headers.items())
    ]
    told.dicoms = len(tagged)
    told.joined = join_tables(contents, names, guide, Tagged(tagged, pseudonyms))
    facts = told.joined.facts
    told.named = told.images & facts.keys()
    counts: Counter[str] = Counter()
    for key, image_id in ids.items():
        folder = key.split("/")[-2]
        counts[folder] += 1
        codes = facts.get(image_id, {}).get("archive_diagnosis", ())
        told.labels[label_by(folder, codes, coarse_codes={}, guide=guide)] += 1
    told.folders = {name: (count, _meaning(name, guide)) for name, count in counts.most_common()}
    told.lesions = _distinct(told, "lesion_id")
    told.patients = _distinct(told, "patient_id")
    return told


def names_withheld(
    files: Mapping[str, Path], pseudonyms: Pseudonyms
) -> tuple[dict[str, str], dict[str, bytes]]:
    """What stands for the keys that tell who a patient is, and the header of each DICOM, by key."""
    headers = {key: header_of(files[key]) for key in files if is_image(key)}
    found = {key: data for key, data in headers.items() if data}
    return {k: withheld(k, pseudonyms) for k in found if names_its_patient(k, found[k])}, found


def check_names(files: Mapping[str, Path]) -> None:
    """Raise `BadInput` if the name of a DICOM, or of a folder above it, tells who the patient is.

    The message repeats no name: it goes into logs.
    """
    named, headers = names_withheld(files, for_now())
    if named:
        places = [number for number, key in enumerate(sorted(headers), start=1) if key in named]
        raise BadInput(
            "Names of files or folders tell who a patient is. Nothing was copied.",
            expected="names without a patient's name, number or date of birth: names of files "
            "stand in records, logs and reports",
            received=f"{len(named)} of {plural(len(headers), 'DICOM')} whose tags hold what stands "
            f"in the name; in the order of their paths, number {listed(list(map(str, places)), 5)}",
            do="rename files and folders, to running numbers for example; the tags may stay as "
            "they are: patients are linked by a keyed hash of their number",
        )


def _distinct(told: Inspection, name: str) -> tuple[int, int]:
    found = [told.joined.facts[i][name] for i in told.named if name in told.joined.facts[i]]
    return len(set(found)), len(found)


def _meaning(folder: str, guide: Guide) -> str:
    label = label_by(folder, (), coarse_codes={}, guide=guide)
    if label:
        return label
    if is_negated(folder):
        return "what its images are not: no label"
    meant = suggestion_for(folder)
    return f"no class; {meant}?" if meant else "no class"


def files_of(images: Path, metadata: Path | None) -> dict[str, Path]:
    """The files of a delivery by the keys that they would have in a new store."""
    name = images.resolve().name
    found = {f"raw/{name}/{each.within}": each.path for each in files_in(images, "images")}
    tables = files_in(metadata, "metadata") if metadata else []
    return found | {f"raw/metadata/{each.within}": each.path for each in tables}


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
    codes = {code: "none" for each in told.joined.tables for code in each.codes}
    columns = {
        each.key.rpartition("/")[2]: {name: of or "ignore" for name, of in each.columns.items()}
        for each in told.joined.tables
        if each.problems
    }
    said = {"columns": columns, "codes": codes, "folders": folders}
    head = (
        "# What a person says about this delivery. Correct each line, and lay the file beside\n"
        "# the images or tables. A class is one of the nine, or none. A column is image_id,\n"
        "# lesion_id, patient_id, age_years, sex, site, diagnosis or ignore.\n"
    )
    return head + yaml.safe_dump({k: v for k, v in said.items() if v}, sort_keys=False)


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
        },
        indent=1,
        ensure_ascii=False,
    )
