"""Files that may hold pictures or tables in a form that is not read, and what to do about each."""

import re

FORMS = {
    re.compile(
        r"(?i).*\.(json|jsonl|parquet|feather|sav|dta|mdb|accdb|sqlite"
        r"|(csv|tsv|tab|xlsx?|ods)[._~-]\w*)"
    ): "a form of table that is not read: give CSV, TSV, Excel or OpenDocument",
    re.compile(
        r"(?i).*\.(cr2|cr3|nef|arw|orf|rw2|raf|dng|raw)"
    ): "a camera's raw picture, which nothing develops here: export it as PNG or JPEG",
    re.compile(
        r"(?i).*\.(zip|7z|rar|tar|tgz|gz|bz2|xz)"
    ): "an archive, into which nothing looks: unpack it",
}


def unread_forms(keys: "list[str] | tuple[str, ...]") -> dict[str, str]:
    """Why each file of such a form is not read, by key; other files are left out.

    >>> sorted(unread_forms(["raw/a/x.csv.gz", "raw/a/y.CR2", "raw/a/notes.pdf"]))
    ['raw/a/x.csv.gz', 'raw/a/y.CR2']
    """
    return {
        key: next(why for form, why in FORMS.items() if form.fullmatch(key))
        for key in keys
        if any(form.fullmatch(key) for form in FORMS)
    }
