"""The report shows what tells melanoma without its lesion, in the data and in the answers."""

from pathlib import Path

from tasks.records.figures import Estimate
from tasks.records.shortcuts import Beside, Probe, Probes, Telling, TellingSource, Turned
from tasks.records.validated import Finding
from tests.support.reported import HOSTILE, Page, make_records, make_run, page_of, text_of


def area(value: float) -> Estimate:
    return Estimate(value=value, lower=value - 0.02, upper=value + 0.02, n=200, method="DeLong")


def telling(about: str, value: float, most: str = "") -> Telling:
    return Telling(about=about, auc=area(value), most=most, shortcut=value > 0.8)


BESIDE = Beside(
    images=210,
    melanomas=90,
    others=110,
    everything=telling("everything beside the lesion", 0.7),
    things=(telling("lines on the border", 0.91, "most lines of a strip"), telling("file", 0.55)),
    with_lesion=telling("colour of the whole, lesion included", 0.6),
    sources=(
        TellingSource(source=HOSTILE, lesions=60, melanomas=58, auc=area(0.82), shortcut=True),
    ),
)
PROBES = Probes(
    images=190,
    melanomas=80,
    others=105,
    probes=(
        Probe(
            change="ruler drawn on",
            melanomas=Turned(lesions=80, right_before=78, lost=7, gained=1, lower=-0.2, upper=0.01),
            others=Turned(lesions=0, right_before=0, lost=0, gained=0, lower=-1, upper=1),
            auc=area(0.85),
        ),
    ),
)


def test_both_probes_are_shown_with_their_bounds(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    records = make_records(run)
    found = Finding(
        law="shortcut",
        description="Nothing beside the lesion tells.",
        count=2,
        severity="warning",
        consequence="kept",
        remark="",
        examples=(),
        beside=BESIDE,
    )
    validated, evaluated = records["validate"], records["evaluate"]
    records["validate"] = validated.model_copy(update={"findings": (*validated.findings, found)})
    records["evaluate"] = evaluated.model_copy(update={"shortcuts": PROBES})
    html = page_of(run, records)
    text = text_of(html)
    for said in (
        "on 90 melanoma lesions and 110 others",
        "lines on the bordermost by: most lines of a strip0.910 (0.890 to 0.930)yes",
        "file0.550 (0.530 to 0.570)no",
        "asked again about 80 melanoma lesions and 105 others",
        "ruler drawn on78 of 80, \u22127, +1 (-0.200 to 0.010)\u20130.850",
    ):
        assert said in text, said
    assert 'href="#shortcuts"' in html
    assert "script" not in Page(html).tags


def test_an_older_run_shows_no_such_section(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    records = make_records(run)
    records["evaluate"] = records["evaluate"].model_copy(update={"shortcuts": None})
    html = page_of(run, records)
    assert 'id="shortcuts"' not in html
    assert 'href="#shortcuts"' not in html
