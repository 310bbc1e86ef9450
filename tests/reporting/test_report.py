"""The report: true to the records, whole without the rest of the world, safe with any text."""

import io
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import BadInput
from tasks.evaluation.bounds import proportion_rule
from tasks.figures import at_least, at_most, duration, percent
from tasks.lesions import DIAGNOSES
from tasks.records.record import Artifact, sha256
from tasks.records.validated import Finding
from tasks.records.verdict import Rule
from tasks.reporting.charts import curves
from tasks.reporting.report import Records, report
from tasks.statistics.proportions import proportion
from tests.support.records import known
from tests.support.reported import (
    EXACT,
    HOSTILE,
    STEPS,
    Page,
    epochs_of,
    make_records,
    make_run,
    page_of,
    text_of,
    trained_by,
    verdict_on,
)

# What the page says ------------------------------------------------------------------------------


def test_a_passed_run_is_told_in_a_clinicians_words(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    text = text_of(page_of(run, make_records(run)))
    assert "Passed" in text
    assert (
        "Of 32 melanoma lesions it found 30 (94 %). We can be 95 % sure that it finds "
        "at least 81.6 %" in text
    )
    assert "Of 91 other lesions 70 (77 %) were not called melanoma." in text
    assert "Registered as melanoma_classifier, version 7 (challenger)" in text
    assert "A person now decides" in text


def test_a_failed_run_says_why_and_that_nothing_was_registered(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    text = text_of(page_of(run, make_records(run, found=12)))
    assert "Failed" in text
    assert "Melanoma sensitivity: 12 of 32 lesions; with 95 % confidence at most" in text
    assert "Not registered: only a model that passes is registered." in text
    assert "registerskipped" in text.replace(" ", "")


def test_too_few_lesions_are_called_insufficient_evidence_not_failure(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    text = text_of(page_of(run, make_records(run, found=27)))
    assert "Insufficient evidence" in text
    assert "too few lesions to tell" in text
    assert "Failed" not in text


def test_a_model_that_is_registered_already_is_not_announced_as_new(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    records = make_records(run)
    records["register"] = records["register"].model_copy(update={"newly": False})
    text = text_of(page_of(run, records))
    assert "Not registered again: this model is already melanoma_classifier, version 7" in text


def test_a_model_that_a_better_challenger_kept_from_people_says_so(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    records = make_records(run)
    why = "Version 7 is registered, and nobody is asked about it"
    records["register"] = records["register"].model_copy(update={"alias": None, "passed_over": why})
    text = text_of(page_of(run, records))
    assert why in text
    assert "A person now decides" not in text
    assert "None" not in text


def test_a_run_whose_test_part_holds_no_melanoma_says_so(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    records = make_records(run)
    none_there = {"sensitivity": proportion(0, 0), "mixed": None}
    figures = records["evaluate"].figures.model_copy(update=none_there)
    none = records["evaluate"].model_copy(update={"figures": figures})
    records |= {"evaluate": none, "gate": verdict_on(run, none)}
    del records["register"]
    assert "There are no melanoma lesions in the test part." in text_of(page_of(run, records))


def test_every_section_shows_what_its_record_holds(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    records = make_records(run)
    html = page_of(run, records)
    text = text_of(html)
    for said in (
        "70 files were delivered; 69 could be decoded; 68 were fetched anew",
        "Ignored: 1 files that are neither image nor known table, such as raw/readme.txt",
        "5 files are quarantined",
        "10 of 11 expectations",
        "the same image id twice",
        "This is the first run whose data were accepted",
        "of these, from HAM10000 uneven",
        "Laws that held: undecodable.",
        "7 + 13",  # originals and copies
        "2 images were left out",
        "1 234 567 parameters",
        "baseline 51.0 %, balanced 62.0 %",
        "5 of 7 · 71 % (29 % to 97 %)",
        "2 melanoma lesions of the test part fell below the threshold",
        "ISIC_9999998, ISIC_9999999",
        "reused from run earlier",
        "456 MB",
        "c0dec0dec0de",
        "3 (default 20)",  # epochs
    ):
        assert said in text, said
    docs = records["validate"].data_docs[0].key.removeprefix("runs/first/")
    assert f'href="{docs}"' in html
    pictures = Page(html).tags.count("img")
    assert pictures == 5 * len(DIAGNOSES) + 1  # and one missed melanoma


@pytest.mark.parametrize("synthetic", [True, False])
def test_a_synthetic_run_says_so_on_top_and_at_each_picture_and_no_other_run_does(
    tmp_path: Path, synthetic: bool
) -> None:
    run = make_run(tmp_path)
    html = page_of(run, make_records(run, image_prefix="SYNTHETIC_" if synthetic else "ISIC_"))
    captions = re.findall(r"<figcaption>(?:(?!</figcaption>).)*<b>drawn</b></figcaption>", html)
    body = html[html.index("<body>") :]
    assert (body.find("says nothing about patients") < body.find("<header")) or not synthetic
    assert ("says nothing about patients" in html) == synthetic
    assert len(captions) == (html.count("<img ") if synthetic else 0)


# Runs that stopped early -------------------------------------------------------------------------


@pytest.mark.parametrize("done", range(len(STEPS)))
def test_a_run_that_stopped_says_how_far_it_came_and_what_is_missing(
    tmp_path: Path, done: int
) -> None:
    run = make_run(tmp_path)
    records = make_records(run)
    run.store.replace(
        run.key("progress.json", STEPS[done]), json.dumps({"text": "epoch 2/20"}).encode()
    )
    text = text_of(page_of(run, {name: records[name] for name in STEPS[:done]}))
    if done:
        assert f"This run came as far as {STEPS[done - 1]}, step {done} of 9." in text
    else:
        assert "This run has not completed its first step." in text
    assert f"The step {STEPS[done]} left no record" in text
    assert "last heard of at: epoch 2/20." in text
    assert ("No verdict" in text) == (done <= STEPS.index("gate"))


def test_a_run_that_stopped_with_an_error_says_which(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    word = {"error": "Too little is left to learn from.\n  Expected: <b>more</b>", "exit_code": 64}
    run.store.replace(run.key("stopped.json", "validate"), json.dumps(word).encode())
    html = page_of(run, {"ingest": make_records(run)["ingest"]})
    assert "The step validate stopped. Too little is left to learn from." in text_of(html)
    assert "<b>more</b>" not in html


def test_a_run_of_which_a_part_stopped_says_why_it_did(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    for part, word in (("1-of-3", "done since"), ("3-of-3", "the store was full")):
        told = json.dumps({"error": word, "exit_code": 75}).encode()
        run.store.replace(run.key("stopped.json", f"validate/{part}"), told)
    run.store.create(run.key("record.json", "validate/1-of-3"), b"{}")

    text = text_of(page_of(run, {"ingest": make_records(run)["ingest"]}))

    assert "The step validate stopped. the store was full" in text
    assert "done since" not in text


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    store = tmp_path_factory.mktemp("store")
    return store, make_records(make_run(store))


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(present=st.sets(st.sampled_from(STEPS)))
def test_any_subset_of_the_records_gives_a_whole_page(
    made: tuple[Path, dict[str, Any]], present: set[str]
) -> None:
    store, records = made
    run = make_run(store, name="-".join(["with", *(n for n in STEPS if n in present)]))
    run.store.replace(run.key("progress.json", "ingest"), b"not even JSON")
    page = Page(page_of(run, {name: records[name] for name in present}))
    assert page.open == []
    missing = [name for name in STEPS if name not in present]
    if "gate" not in present:
        assert f"The step {missing[0]} left no record" in " ".join(page.text.split())


def test_a_run_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nothing to report"):
        report(make_run(tmp_path))


def test_a_picture_file_that_is_gone_or_changed_is_said_so_and_the_rest_is_shown(
    tmp_path: Path,
) -> None:
    run = make_run(tmp_path)
    records = make_records(run)
    for artifact in (records["ingest"].shards[0], records["validate"].quarantine):
        run.store.replace(artifact.key, b"something else")
    text = text_of(page_of(run, records))
    assert "Pictures are missing here." in text
    assert "The quarantined images cannot be shown." in text
    assert "Passed" in text


# Safety ------------------------------------------------------------------------------------------


def test_hostile_text_is_shown_not_run(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    records = make_records(run, image_prefix=HOSTILE)
    finding = Finding(
        law="schema",
        description=HOSTILE,
        count=1,
        severity="error",
        consequence=HOSTILE,
        remark=HOSTILE,
        examples=(f'"><img src=x onerror=alert(1)>{HOSTILE}',),
    )
    rows = f"key,image_id,label,law,reason,counterpart\n{HOSTILE},a,b,{HOSTILE},{HOSTILE},\n"
    quarantine = run.keep("quarantine.csv", rows.replace('"', "'").encode())
    records["validate"] = records["validate"].model_copy(
        update={"findings": (finding,), "quarantine": quarantine}
    )
    page = Page(html := page_of(run, records))
    assert "script" not in page.tags
    assert "onerror" not in re.sub(r"&lt;.*?&gt;", "", html)
    assert HOSTILE in page.text


@pytest.mark.parametrize("prefix", ["ISIC_", "SYNTHETIC_"])
def test_nothing_in_the_page_refers_to_an_outside_address(tmp_path: Path, prefix: str) -> None:
    run = make_run(tmp_path)
    html = page_of(run, make_records(run, image_prefix=prefix))
    for address in Page(html).addresses:
        assert urlsplit(address).scheme in ("", "data"), address
        assert not urlsplit(address).netloc
    assert not re.search(r"url\(|@import|https?://", html)
    assert "default-src 'none'" in html


def test_the_page_of_a_run_stays_below_three_megabytes(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    assert len(page_of(run, make_records(run))) < 3_000_000


# Numbers and curves ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.9375, "94 %"), (1.0, "100 %"), (0.0, "0 %"), (0.996, "99.6 %"), (0.004, "0.4 %"),
     (0.99999, "> 99.99 %"), (1e-9, "< 0.01 %"), (None, "not known"), (float("nan"), "not known")],
)  # fmt: skip
def test_a_share_is_never_rounded_to_all_or_nothing(share: float | None, text: str) -> None:
    assert percent(share).replace("\u00a0", " ") == text


@given(st.floats(0, 1), st.sampled_from([0, 1]))
def test_a_bound_is_never_rounded_in_the_models_favour(share: float, digits: int) -> None:
    low, high = (float(f(share, digits).split("\u00a0")[0]) for f in (at_least, at_most))
    assert low <= 100 * share + 1e-6
    assert high >= 100 * share - 1e-6


def test_a_bound_just_below_what_is_asked_does_not_look_like_it() -> None:
    rule = proportion_rule("melanoma sensitivity", proportion(29, 32), 0.80, EXACT)
    assert known(rule.lower) < 0.80
    assert float(at_least(known(rule.lower)).split("\u00a0")[0]) < 80


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.01, "< 0.1 s"), (9.96, "10.0 s"), (99.0, "99.0 s"), (125, "2 min 05 s"), (7200, "2.0 h")],
)
def test_durations_read_like_a_clock(seconds: float, text: str) -> None:
    assert duration(seconds).replace("\u00a0", " ") == text


@settings(deadline=None)
@given(st.integers(1, 500), st.floats(0.01, 1e4))
def test_curves_of_any_length_stay_inside_the_chart_sideways(
    number: int, first_loss: float
) -> None:
    model = Artifact(key="k", sha256=sha256(b""), size_bytes=0)
    for chart in curves(trained_by(model, epochs_of(number, first_loss)))[0]["charts"]:
        points = chart["lines"]["train"] + chart["lines"]["validation"]
        assert len(points) == 2 * number
        assert all(34 <= x <= 340 for x, _ in points)
        assert len(chart["x"]) <= 8
        assert 2 <= len(chart["y"]) <= 7
        assert chart["clipped"] == any(y < 8 for _, y in chart["lines"]["validation"])


def test_a_loss_that_is_not_a_number_is_left_out_of_the_line() -> None:
    model = Artifact(key="k", sha256=sha256(b""), size_bytes=0)
    epochs = epochs_of(3)
    epochs = (epochs[0].model_copy(update={"val_loss": float("inf")}), *epochs[1:])
    loss = curves(trained_by(model, epochs))[0]["charts"][1]
    assert len(loss["lines"]["validation"]) == 2


def test_the_records_of_the_report_are_the_steps_of_the_pipeline() -> None:
    assert list(Records.__dataclass_fields__) == STEPS


def test_the_same_records_give_the_same_page_but_for_its_date(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    records = make_records(run)
    first, second = page_of(run, records), page_of(run, records)
    date = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC")
    assert date.sub("", first) == date.sub("", second)


def test_a_step_in_parts_is_told_with_the_seconds_of_its_parts(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    records = make_records(run)
    plain = text_of(page_of(run, records))
    assert "train12.3 s" in plain
    assert "with parts" not in plain

    train = records["train"]
    provenance = train.provenance.model_copy(
        update={"parts": {"baseline": "0" * 64, "balanced": "1" * 64}, "seconds_of_parts": 70.0}
    )
    records["train"] = train.model_copy(update={"provenance": provenance})
    text = text_of(page_of(run, records))
    assert "train82.3 s, 2 parts" in text
    assert "2 parts: 70.0 s" in text
    assert "evaluate12.3 s" in text


def test_the_gate_table_shows_each_rule(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    records = make_records(run)
    rule = Rule(
        name="a rule of its own", figure=1 / 3, successes=1, n=3, lower=0.017, upper=0.9,
        threshold=0.8, asks="at least", decision="insufficient evidence", reason="", method="exact",
        more_needed=None,
    )  # fmt: skip
    records["gate"] = records["gate"].model_copy(update={"rules": (rule,)})
    text = text_of(page_of(run, records))
    assert "aruleofitsownexact1of31.7%90.0%atleast80.0%insufficientevidence" in text.replace(
        " ", ""
    )


def test_a_picture_is_a_small_jpeg(tmp_path: Path) -> None:
    from base64 import b64decode

    from PIL import Image

    run = make_run(tmp_path)
    html = page_of(run, make_records(run))
    data = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', html)
    assert data
    for each in data:
        with Image.open(io.BytesIO(b64decode(each))) as image:
            assert image.format == "JPEG"
            assert max(image.size) <= 112
