"""A delivery whose file names, lesions and codes hold whatever a name may hold, to its end."""

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from deliveries import BEFORE_REGISTER, do, picture, run_of, table_of

from tasks.contracts import Evaluated, Registered, Validated
from tasks.lesions import MELANOMA
from tasks.registry import CHAMPION, MODEL, mlflow_client
from tasks.report import report
from tasks.run import Run
from tasks.spreadsheet import csv_of
from tasks.storage import Store, open_store
from tasks.verify import verify

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
    told += [[Path(key).stem, "a|HAM10000=nv|b=", "", ""] for key in coded]
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
    assert validated.classes == {MELANOMA: 2 * LESIONS, "nevus": 2 * LESIONS}


def registered_at(run: Run) -> str:
    return f"{run.uri}/evidence"


def test_only_what_breaks_a_law_is_quarantined_and_each_by_its_own(
    run: Run, tmp_path: Path
) -> None:
    planted = deliver(open_store(str(tmp_path)))

    assert quarantined(run) == {law: sorted(keys) for law, keys in planted.items()}


def test_the_page_shows_whom_each_image_contradicts(run: Run) -> None:
    page = run.store.read(report(run)).decode()

    assert "SYNTHETIC_90; raw ~ 0</b> / SYNTHETIC_91; raw ~ 1" in page
    assert "labels=a|HAM10000=nv|b=" in page


def test_a_champion_and_lost_lesions_with_any_name_are_compared_and_verify(run: Run) -> None:
    with mlflow_client(run.store) as client:
        # A champion that calls everything melanoma finds whatever its successor misses.
        client.set_model_version_tag(MODEL, "1", "threshold", "0.0")
        client.set_registered_model_alias(MODEL, CHAMPION, "1")
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

    from dags.melanoma_promotion import evidence

    told = evidence(second.uri)
    assert all(image_id.replace("\t", "\\t") in told for ids in lost for image_id in ids)


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
OURS = re.compile(r"(DEBUG|INFO|WARNING|ERROR) \S|  (Expected|Received|Do): +\S|$|[A-Z][^\x1b]*\.$")


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
    header = ["image_id", "diagnosis", "lesion_id", "patient_id"]
    told = [["SYNTHETIC_100", "melanoma", f"{FORGED}L", "P\u202eP"]]
    again = [["SYNTHETIC_100", "melanoma", "M\r\nINFO all is well", "P\u2028P"]]
    assert header
    store.create(f"raw/d/{FORGED}.csv", table(told))
    store.create("raw/d/again.csv", table(again))


@pytest.mark.parametrize("until", ["split"])
def test_no_name_forges_a_line_of_the_log(tmp_path: Path, until: str) -> None:
    store = open_store(str(tmp_path / "store"))
    forging(store)
    config = json.dumps({"image_size": 32, "packed_size": 48, "minimum_groups": 2})
    argv = ("--config", config, "--run", f"{store.uri}/runs/one")
    said = "".join(tasks(step, *argv) for step in ("ingest", "validate", until))

    assert "Ignored raw/d/a\\nERROR gate passed\\x1b[2J.txt" in said
    assert "Table raw/d/a\\nERROR gate passed\\x1b[2J.csv speaks of 1 images." in said
    assert "SYNTHETIC_100: lesion_id a\\nERROR gate passed\\x1b[2JL or M\\r\\nINFO all" in said
    for line in said.split("\n"):
        assert OURS.match(line), line
        assert line.isprintable(), line
    assert not re.search(r"^ERROR", said, re.MULTILINE)


def test_no_name_forges_a_line_where_a_step_stopped(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    put(store, "nevus", FORGED, 1)
    config = json.dumps({"laws_that_fail": ["class_not_learnable", "schema"], "image_size": 32})
    argv = ("--config", config, "--run", f"{store.uri}/runs/one")
    said = tasks("ingest", *argv) + tasks("validate", *argv)
    stopped = json.loads(store.read("runs/one/validate/stopped.json"))["error"]

    assert "raw/d/nevus/a\\nERROR gate passed\\x1b[2J.png" in said
    for text in (said, stopped):
        assert not re.search(r"^ERROR", text, re.MULTILINE)
        assert "\x1b" not in text
    assert [line.split(":")[0].strip() for line in stopped.split("\n")[1:]] == [
        "Expected", "Received", "Do"
    ]  # fmt: skip
