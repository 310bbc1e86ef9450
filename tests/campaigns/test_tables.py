"""Thousands of tables that say the same in other ways: read whole, or told what is not."""

import csv
import io
import random
from collections import Counter

from tasks.intake.joining import Joined, join_tables
from tasks.intake.matching import Names
from tests.support.campaigns import found
from tests.support.workbooks import workbook

TABLES = 5_000
LESIONS = 12
IMAGES = ("image_id", "isic_id", "image", "image_name", "img_id", "filename", "file", "id", "Bild")
LESION = ("lesion_id", "lesion", "id_lesion", "lesion no", "case_num", "lesion number", "Läsion")
PATIENT = ("patient_id", "patient", "subject_id", "pid", "id_patient", "paciente", "participant id")
DIAGNOSIS = ("dx", "diagnosis", "diagnostic", "label", "class", "iddx_full", "Diagnose")
WORDS = {
    "melanoma": ("melanoma", "MEL", "mel", "Melanoma", "MELANOMA"),
    "nevus": ("nevus", "NV", "nv", "Nevus", "naevus"),
}
OTHERS = ("remark", "device", "dx_type", "age_approx", "sex", "notes 2")
FORMS = ("csv", "bom", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "xlsx")


def spelled(name: str, by: random.Random) -> str:
    """A column's name in another case, with other signs between its words."""
    words = name.replace("_", " ").split()
    camel = words[0].lower() + "".join(each.capitalize() for each in words[1:])
    return by.choice(
        [
            *("_".join(words), " ".join(words), "-".join(words), "".join(words), camel),
            *("_".join(words).upper(), " ".join(words).title(), " " + "_".join(words) + " "),
        ]
    )


def images() -> list[tuple[str, int, str]]:
    """Image, lesion and diagnosis of each: two images for each lesion."""
    label = ("melanoma", "nevus")
    return [(f"case{n}{view}", n, label[n % 2]) for n in range(LESIONS) for view in "ab"]


def cell_of(image: str, form: str) -> str:
    return {
        "id": image,
        "file": f"{image}.jpg",
        "path": f"images/all/{image}.jpg",
        "windows": f"C:\\export\\{image}.JPG",
        "address": f"https://archive.example/i/{image}.jpg?size=2",
        "upper": image.upper(),
    }[form]


def drawn(by: random.Random) -> tuple[bytes, str]:
    """A table, and how it is spelled."""
    form, separator = by.choice(FORMS), by.choice([",", ";", "\t", "|"])
    cells = by.choice(["id", "file", "path", "windows", "address", "upper"])
    number = by.choice(["{}", "L{:03}", "L-{}", "{}.0", "IL_{:07}"])
    columns = [IMAGES, LESION, PATIENT, DIAGNOSIS]
    names = [spelled(by.choice(each), by) for each in columns]
    rows = []
    for image, lesion, label in images():
        row = [cell_of(image, cells), number.format(lesion), f"P{lesion // 2}"]
        rows.append([*row, by.choice(WORDS[label])])
    for other in by.sample(OTHERS, by.randint(0, 3)):
        names.append(other)
        value = {"age_approx": "55", "sex": "male"}.get(other, "x")
        rows = [[*each, value] for each in rows]
    order = by.sample(range(len(names)), len(names))
    by.shuffle(rows)
    table = [[each[n] for n in order] for each in [names, *rows]]
    title = [["Export of lesions"]] * by.choice([0, 0, 1, 2])
    told = f"{form}, {separator!r}, {len(title)} titles, {cells}, {number}, {names}"
    if form == "xlsx":
        return workbook([*title, *table]), told
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, lineterminator=by.choice(["\n", "\r\n"]))
    if by.random() < 0.2 and not title:
        text.write(f"sep={separator}\n")
    writer.writerows([*title, *table])
    encoding = {"csv": "utf-8", "bom": "utf-8-sig", "xlsx": ""}.get(form, form)
    return text.getvalue().encode(encoding), told


def outcome(joined: Joined) -> str:
    """What became of a table: read whole, told, or taken wrongly in silence."""
    facts = joined.facts
    said = bool(joined.unread or any(t.problems or t.unmatched or t.codes for t in joined.tables))
    truth = {image: (lesion, label) for image, lesion, label in images()}
    whole = set(facts) == set(truth)
    for what, of in (("lesion_id", 0), ("archive_diagnosis", 1)):
        pairs = {(str(facts.get(i, {}).get(what)), truth[i][of]) for i in truth}
        if what == "lesion_id":
            whole &= len(pairs) == LESIONS == len({one for one, _ in pairs})
        whole &= "None" not in {one for one, _ in pairs}
    return "read whole" if whole else "told" if said else "taken wrongly in silence"


def test_a_table_in_another_spelling_is_read_whole_or_what_is_not_is_told() -> None:
    names = Names((f"raw/set/all/{image}.jpg", image) for image, _, _ in images())
    counts, wrong = Counter[str](), list[str]()
    for seed in range(TABLES):
        data, told = drawn(random.Random(seed))
        became = outcome(join_tables([("raw/metadata/table", data)], names))
        counts[became] += 1
        if became == "taken wrongly in silence":
            wrong.append(told)
    found("tables", {"tables in random spellings": dict(counts)})
    assert wrong == []
    assert counts["read whole"] > 0.9 * TABLES
