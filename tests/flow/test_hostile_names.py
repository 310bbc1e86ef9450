"""A delivery whose file names, lesions and codes hold whatever a name may hold, to its end."""

import csv
import html
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from PIL import Image

from tasks.config import Retraining
from tasks.engine.run import Run
from tasks.engine.spreadsheet import csv_of, to_csv
from tasks.engine.storage import open_store
from tasks.engine.store import Store
from tasks.evaluation.comparison import COLUMN, compared
from tasks.evaluation.scoring import by_lesion
from tasks.lesions import MELANOMA
from tasks.records.evaluated import Comparison, Evaluated
from tasks.records.registered import Registered
from tasks.records.validated import Finding, Validated
from tasks.registry.promotions import Adoption, Model, append
from tasks.registry.versions import MODEL, mlflow_client, version_named
from tasks.release.question_page import page as page_of
from tasks.release.verify import verify
from tasks.reporting.audit import audit_of
from tasks.reporting.report import report
from tasks.text.markdown import WORD_JOINER
from tasks.validation.changes import OTHERS
from tests.support.approvals import question_about
from tests.support.deliveries import BEFORE_REGISTER, do, picture, run_of, table_of
from tests.support.records import incomplete

pytestmark = pytest.mark.slow

# What one part of the product or another puts between values, and what it may not be able to read.
TAILS = (
    *(
        " left arm",
        "; b",
        " ~ b",
        "|b=c",
        "=b|c",
        ", b",
        " 'b'",
        ' "b"',
        "é 黑子",
        "-b",
        "@b",
        "#b",
    ),
    *(
        "\tb",
        " (b) ",
        "%20",
        "\\n",
        "{b}",
        "<b>",
        "NA",
        "\uff21\uff22",
        "$(b)",
        "`b`",
        "*_b_*",
        "b.1",
    ),
)
FIRST = (" left arm", "=1+1", "@SUM(1)", "'=1", "-b", "+b", "NA")
LESIONS = 30


ALIKE = ("raw/d/nevus/SYNTHETIC_70 ~ a.png", "raw/d/nevus/SYNTHETIC_71 ~ b; c ~ d.png")


def turned(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(data)) as image:
        image.transpose(Image.Transpose.ROTATE_90).save(buffer, "PNG")
    return buffer.getvalue()


def name(number: int) -> str:
    return f"SYNTHETIC_{number:04d}{TAILS[number % len(TAILS)]}"


def rows(numbers: range, diagnosis: str) -> list[list[str]]:
    """Two images of each lesion. Lesions and codes are hostile too."""
    told = []
    for number in numbers:
        lesion = f"{FIRST[number // 2 % len(FIRST)]} L{number // 2}"
        told.append([name(number), diagnosis, lesion, "; ".join((lesion, "P"))])
    return told


def put(store: Store, diagnosis: str, file: str, number: int) -> str:
    key = f"raw/d/{diagnosis}/{file}.png"
    store.create(key, picture(number))
    return key


def table(told: list[list[str]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerows([["image_id", "diagnosis", "lesion_id", "patient_id"], *told])
    return text.getvalue().encode()


def deliver(store: Store) -> dict[str, list[str]]:
    """Sound lesions, and what is to be quarantined: its keys, by law."""
    told = []
    for diagnosis, first in (("melanoma", 0), ("nevus", 1000)):
        numbers = range(first, first + 2 * LESIONS)
        told += rows(numbers, diagnosis)
        for number in numbers:
            put(store, diagnosis, name(number), number)
    torn = [
        put(store, label, f"SYNTHETIC_9{copy}; raw ~ {copy}", 9000)
        for copy, label in enumerate(("melanoma", "nevus", "nevus", "nevus"))
    ]
    coded = [put(store, "nevus", f"SYNTHETIC_8{number} | x=y", 8000 + number) for number in (0, 1)]
    told += [[Path(key).stem, "solar lentigo", "", ""] for key in coded]
    told += [[Path(key).stem, "a|HAM10000=nv|b=", "", ""] for key in ALIKE]
    for key, data in zip(ALIKE, (picture(7000), turned(picture(7000))), strict=True):
        store.create(key, data)
    store.create("raw/d/labels.csv", table(told))
    return {"contradictory_label": torn, "label_disagrees_with_archive": coded}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    store = open_store(str(tmp_path_factory.mktemp("hostile") / "store"))
    deliver(store)
    return judged(store, "first")


def judged(store: Store, called: str, **config: Any) -> Run:
    settings = {"epochs": 1, "policy": "smoke", "recipes": ("baseline",), "test_share": 0.4}
    made = run_of(store, called, **(settings | config))
    do(made, *BEFORE_REGISTER, "register")
    return made


def quarantined(run: Run) -> dict[str, list[str]]:
    validated = run.record("validate")
    assert isinstance(validated, Validated)
    found = table_of(run, validated.quarantine)
    return {str(law): sorted(keys) for law, keys in found.groupby("law")["key"]}


def test_every_name_reaches_the_end_and_the_bundle_verifies(run: Run) -> None:
    registered = run.record("register")
    assert isinstance(registered, Registered)
    assert verify(registered_at(run), registered.evidence.sha256).decision == "pass"
    validated = run.record("validate")
    assert isinstance(validated, Validated)
    assert validated.classes == {MELANOMA: 2 * LESIONS, "nevus": 2 * LESIONS + len(ALIKE)}


def registered_at(run: Run) -> str:
    return f"{run.uri}/evidence"


def test_only_what_breaks_a_law_is_quarantined_and_each_by_its_own(
    run: Run, tmp_path: Path
) -> None:
    planted = deliver(open_store(str(tmp_path)))

    assert quarantined(run) == {law: sorted(keys) for law, keys in planted.items()}


def test_the_page_shows_whom_each_image_contradicts(run: Run) -> None:
    page = run.store.read(report(run)).decode()

    assert "SYNTHETIC_70 ~ a</b> / SYNTHETIC_71 ~ b; c ~ d" in page
    assert " ~ ".join(ALIKE) in page
    assert "SYNTHETIC_90; raw ~ 0</b> / SYNTHETIC_91; raw ~ 1" in page
    assert "labels=solar lentigo" in page
    assert "&#39;a|HAM10000=nv|b=&#39; in 2 rows" in page  # a diagnosis that nobody knows


def test_a_champion_and_lost_lesions_with_any_name_are_compared_and_verify(run: Run) -> None:
    with mlflow_client(run.store) as client:
        version = version_named(client, f"models:/{MODEL}/1")
    # A champion that calls everything melanoma finds whatever its successor misses.
    model = Model(
        version=1, run=version.run, model_sha256=version.model_sha256, threshold=0.0,
        classes=version.classes, evidence_sha256=version.evidence_sha256,
    )  # fmt: skip
    append(run.store, "", lambda now: Adoption(after=model, why="a test"))
    second = judged(run.store, "second", seed=7, target_sensitivity=0.5)
    evaluated = second.record("evaluate")
    assert isinstance(evaluated, Evaluated)
    assert evaluated.champion
    assert evaluated.champion.comparison
    lost = evaluated.champion.comparison.lost

    assert lost
    assert set(lost) == {each.image_ids for each in evaluated.missed}
    known = {name(number) for number in range(2 * LESIONS)}
    assert {image_id for ids in lost for image_id in ids} <= known
    assert {len(ids) for ids in lost} == {2}
    verified = verify(registered_at(second))
    assert any(f"{len(lost)} of " in held and "found by it alone" in held for held in verified.held)
    page = second.store.read(report(second)).decode()
    assert page.count('<figure class="map">') == len(lost)

    page = MarkdownIt().render(page_of(question_about(second))).replace(WORD_JOINER, "")
    told = html.unescape(re.sub("<[^>]*>", "", page))
    assert all(" ".join(image_id.split()) in told for ids in lost for image_id in ids)


# Any name ---------------------------------------------------------------------------------------


def apart(lists: list[list[str]]) -> list[tuple[str, ...]]:
    """Lesions of which no two share an image."""
    lesion_of = {each: number for number, ids in enumerate(lists) for each in ids}
    return [
        tuple(each for each in dict.fromkeys(ids) if lesion_of[each] == number)
        for number, ids in enumerate(lists)
        if any(lesion_of[each] == number for each in ids)
    ]


anything = st.text(st.characters(categories=("L", "M", "N", "P", "S", "Zs")), min_size=1)
lesions = st.lists(
    st.lists(anything | st.sampled_from(["a b", "a; b", "a ~ b", "a|b=c", "a"]), min_size=1),
    min_size=1,
    max_size=6,
).map(apart)


@given(lesions)
def test_ids_survive_the_table_of_lesions_and_the_comparison(ids: list[tuple[str, ...]]) -> None:
    table = pd.DataFrame(
        {"image_id": each, "lesion": str(number), "label": MELANOMA, MELANOMA: 0.1, COLUMN: 0.9}
        for number, images in enumerate(ids)
        for each in images
    ).assign(age_years=30.0)
    found = by_lesion(table, (MELANOMA, COLUMN))

    assert set(found["image_ids"]) == {tuple(sorted(images)) for images in ids}
    comparison = compared(found, 0.5, 0.5)
    assert comparison.lost == tuple(found["image_ids"])
    assert Comparison.model_validate_json(comparison.model_dump_json()) == comparison


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ids=lesions)
def test_keys_survive_the_audit(ids: list[tuple[str, ...]], tmp_path: Path) -> None:
    run = Run(open_store(str(tmp_path)), "one", Retraining(), "validate")
    told = {"image_id": "i", "label": "nevus", "law": "undecodable", "reason": "why"}
    rows = [
        told | {"key": one, "counterpart": "".join(more[:1]), OTHERS: "; ".join(more[1:])}
        for one, *more in ids
    ]
    pairs = tuple((images[0], images[-1]) for images in ids)
    finding = {"description": "", "severity": "warning", "consequence": "", "remark": ""}
    near = Finding(law="near_duplicate", count=len(pairs), examples=pairs, **finding)
    validated = incomplete(
        Validated,
        quarantine=run.keep("quarantine.csv", to_csv(pd.DataFrame(rows))),
        findings=(Finding.model_validate_json(near.model_dump_json()),),
        data_docs=(),
        changes=None,
    )
    audit = audit_of(run, None, validated, None)

    shown = [(case.subject.key, case.counterpart) for case in audit.quarantine[0].some]
    expected = [(row["key"], row["counterpart"] or None) for row in rows]
    assert [(key, other and other.key) for key, other in shown] == expected
    assert audit.pairs
    assert [(c.subject.key, c.counterpart and c.counterpart.key) for c in audit.pairs.some] == [
        *pairs
    ]


# Tables for people ------------------------------------------------------------------------------


def tables_for_people(run: Run) -> dict[str, bytes]:
    found = {entry.key: run.store.read(entry.key) for entry in run.store.list("runs/")}
    return {key: data for key, data in found.items() if key.endswith(".csv")}


def test_no_cell_of_any_table_begins_as_a_formula(run: Run) -> None:
    tables = tables_for_people(run)

    assert {key.rpartition("/")[2] for key in tables} >= {
        "quarantine.csv", "proof.csv", "left_out.csv"
    }  # fmt: skip
    for key, data in tables.items():
        for row in csv.reader(io.StringIO(data.decode(), newline="")):
            for cell in row:
                assert not re.match(r"""[\s'"]*[=+\-@]""", cell) or cell.startswith("'"), key
    proof = next(data for key, data in tables.items() if key.endswith("proof.csv"))
    lesions = set(csv_of(proof)["lesion_id"].dropna())
    assert {each.partition(" L")[0] for each in lesions} >= {"=1+1", "@SUM(1)", "'=1"}


# Logs -------------------------------------------------------------------------------------------

FORGED = "a\nERROR gate passed\x1b[2J"
OURS = re.compile(r"(INFO|WARNING) \S|$")


def tasks(*argv: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tasks", *argv], capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def forging(store: Store) -> None:
    for diagnosis, first in (("melanoma", 100), ("nevus", 200)):
        for number in range(first, first + 12):
            put(store, diagnosis, f"SYNTHETIC_{number}", number)
    put(store, "nevus", FORGED, 1)
    put(store, f"nevus/{FORGED}", "SYNTHETIC_300", 2)
    put(store, f"x\r\n{FORGED}", "SYNTHETIC_301", 3)
    store.create(f"raw/d/{FORGED}.txt", b"neither an image nor a table")
    told = [["SYNTHETIC_100", "melanoma", f"{FORGED}L", "P\u202eP"]]
    again = [["SYNTHETIC_100", "melanoma", "M\r\nINFO all is well", "P\u2028P"]]
    store.create(f"raw/d/{FORGED}.csv", table(told))
    store.create("raw/d/again.csv", table(again))


def test_no_name_forges_a_line_of_the_log(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    forging(store)
    config = json.dumps(
        {"image_size": 32, "packed_size": 48, "minimum_groups": 2, "policy": "synthetic"}
    )
    argv = ("--config", config, "--run", f"{store.uri}/runs/one")
    said = "".join(tasks(step, *argv) for step in ("ingest", "validate", "split"))

    assert "Ignored raw/d/a\\nERROR gate passed\\x1b[2J.txt" in said
    assert "Table raw/d/a\\nERROR gate passed\\x1b[2J.csv: 1 rows, 1 of them of" in said
    assert "SYNTHETIC_100: lesion_id a\\nERROR gate passed\\x1b[2JL or M\\r\\nINFO all" in said
    for line in said.split("\n"):
        assert OURS.match(line), line
        assert line.isprintable(), line
    assert not re.search(r"^ERROR", said, re.MULTILINE)


def test_no_name_forges_a_line_where_a_step_stopped(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    put(store, "nevus", FORGED, 1)
    config = json.dumps(
        {"laws_that_fail": ["class_not_learnable", "schema"], "policy": "synthetic"}
    )
    argv = ("--config", config, "--run", f"{store.uri}/runs/one")
    said = tasks("ingest", *argv) + tasks("validate", *argv)
    stopped = json.loads(store.read("runs/one/validate/stopped.json"))["error"]

    assert "raw/d/nevus/a\\nERROR gate passed\\x1b[2J.png" in said
    for text in (said, stopped):
        assert not re.search(r"^ERROR gate", text, re.MULTILINE)
        assert "\x1b" not in text
    assert [line.split(":")[0].strip() for line in stopped.split("\n")[1:]] == [
        "Expected", "Received", "Do"
    ]  # fmt: skip
