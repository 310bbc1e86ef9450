"""changes: what a second delivery changed is told, and a run that nothing preceded says so."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.engine.run import Run, latest_key
from tasks.engine.storage import open_store
from tasks.engine.store import Store
from tasks.records.validated import Changes, Validated
from tasks.reporting.audit import audit_of
from tasks.reporting.report import report
from tasks.validation.changes import Previous
from tasks.validation.data_docs import index_of, self_contained
from tasks.validation.laws.law import Delivered
from tasks.validation.laws.shift import distribution_shift
from tests.support.deliveries import do, picture, put_lesions, run_of, table_of
from tests.support.records import incomplete

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def deliveries(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run, Run]:
    """A first delivery; a second with new, known and contradicting images; nothing new."""
    store = open_store(str(tmp_path_factory.mktemp("deliveries") / "store"))
    put_lesions(store, "melanoma", range(100, 106))
    put_lesions(store, "nevus", range(200, 206))
    put_lesions(store, "dermatofibroma", range(300, 303))
    runs = []
    for name in ("first", "second", "third"):
        if name == "second":
            store.create("raw/second/nevus/ISIC_0000100.png", picture(100))  # contradicts
            store.create("raw/second/melanoma/ISIC_0000101.png", picture(101))  # again
            for number in range(303, 310):
                store.create(f"raw/second/dermatofibroma/ISIC_{number:07d}.png", picture(number))
        run = run_of(store, name, minimum_groups=4)
        do(run, "ingest", "validate")
        runs.append(run)
    return runs[0], runs[1], runs[2]


def record_of(run: Run) -> Validated:
    record = run.record("validate")
    assert isinstance(record, Validated)
    return record


def changes_of(run: Run) -> Changes:
    changes = record_of(run).changes
    assert changes is not None
    return changes


def test_the_first_run_has_nothing_to_compare_with(deliveries: tuple[Run, Run, Run]) -> None:
    assert record_of(deliveries[0]).changes is None


def test_new_and_known_images_are_told_apart(deliveries: tuple[Run, Run, Run]) -> None:
    changes = changes_of(deliveries[1])
    assert changes.since == "first"
    assert (changes.new_files, changes.new_images, changes.recognized) == (9, 7, 2)
    assert changes.gone_files == 0


def test_a_class_that_became_learnable_is_named(deliveries: tuple[Run, Run, Run]) -> None:
    changes = changes_of(deliveries[1])
    assert changes.learnable == ("dermatofibroma",)
    assert changes.not_learnable == ()
    assert changes.accepted == {"dermatofibroma": (0, 10), "melanoma": (6, 5), "nevus": (6, 6)}


def test_what_is_quarantined_now_and_was_accepted_before_is_listed_with_its_reason(
    deliveries: tuple[Run, Run, Run],
) -> None:
    changes = changes_of(deliveries[1])
    files = table_of(deliveries[1], changes.files).set_index("key")
    now = files[files["change"] == "quarantined now"]
    assert changes.now_quarantined == {"contradictory_label": 1}
    assert len(now) == 1
    assert now["law"].tolist() == ["contradictory_label"]
    assert "melanoma, nevus" in now["reason"].iloc[0]
    assert changes.now_accepted == 3  # the dermatofibromas, too few before
    counted = {each.law: (each.before, each.now) for each in changes.findings}
    assert counted["contradictory_label"] == (0, 1)
    assert counted["class_not_learnable"] == (1, 0)
    assert "undecodable" not in counted


def test_a_run_on_unchanged_data_says_that_nothing_changed(
    deliveries: tuple[Run, Run, Run],
) -> None:
    third = deliveries[2]
    audit = audit_of(third, None, record_of(third), None)
    assert audit.unchanged_since == "second"
    text = third.store.read(report(third)).decode()
    assert "Nothing has changed since run second" in text


def test_the_report_shows_the_quarantined_image_beside_the_one_that_it_contradicts(
    deliveries: tuple[Run, Run, Run],
) -> None:
    second = deliveries[1]
    text = second.store.read(report(second)).decode()
    assert "9 new files" in text
    assert "Became learnable:</span> dermatofibroma." in text
    page = second.store.read("runs/second/quarantine.html").decode()
    cards = page.split('<div class="case">')[1:]
    assert len(cards) == record_of(second).quarantined
    for card in cards:
        assert card.count('src="data:image/jpeg;base64,') == 2  # itself and its counterpart
    assert "the same image id under melanoma, nevus" in page
    assert not re.search(r"(?:src|href)=\"(?!data:|report\.html)", page)


def test_a_picture_without_pixels_has_a_place_of_its_own(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    put_lesions(store, "melanoma", range(100, 106))
    put_lesions(store, "nevus", range(200, 206))
    store.create("raw/first/Train/nevus/<b>.png", b"text")
    run = run_of(store)
    do(run, "ingest", "validate")
    report(run)
    page = store.read("runs/test/quarantine.html").decode()
    assert "no picture" in page
    assert "<b></b>" not in page
    assert "&lt;b&gt;" in page


# The library's own pages ------------------------------------------------------------------------


def test_the_data_docs_fetch_nothing_and_lead_to_each_page(
    deliveries: tuple[Run, Run, Run],
) -> None:
    run = deliveries[0]
    docs = record_of(run).data_docs
    assert [each.key.endswith(".html") for each in docs] == [True] * len(docs)
    root = docs[0].key.removesuffix("index.html")
    linked = set(re.findall(r'href="([^"#]+)"', run.fetch(docs[0]).decode()))
    assert linked == {each.key.removeprefix(root) for each in docs[1:]}
    for page in run.fetch_many(docs):
        text = page.decode()
        assert not re.search(r"""(?:src|href|action)\s*=\s*["']?\s*(?:https?:)?//""", text)
        assert not re.search(r"url\(|@import|<script|<img|<iframe|<link", text)
        assert "default-src 'none'" in text


@pytest.mark.parametrize(
    "hostile",
    [
        "<script src='//x.example/a.js'></script>",
        '<SCRIPT\n>fetch("https://x.example")</SCRIPT >',
        '<link rel="stylesheet" href="https://x.example/a.css"/>',
        '<img class="logo" src="https://x.example/?id=1">',
        '<a href="https://x.example">news</a>',
        "<a href = 'https://x.example'>news</a>",
        "<style>a { background: url('https://x.example/b.png') }</style>",
    ],
)
def test_nothing_that_a_page_would_fetch_is_left_in_it(hostile: str) -> None:
    page = self_contained(f"<html><head><title>t</title></head><body>{hostile}kept</body></html>")
    assert "x.example" not in page
    assert "kept" in page
    assert page.index("default-src 'none'") < page.index("<title>")


def test_the_index_says_how_many_expectations_hold() -> None:
    page = index_of({"laws": (3, 4)}, ["validations/laws/x.html", "expectations/laws.html"])
    assert "3 of 4 expectations hold" in page
    assert page.count("<a href") == 2


# The test for a shift ---------------------------------------------------------------------------


def population(
    rng: np.random.Generator, n: int, melanoma: float = 0.2, red: float = 180
) -> pd.DataFrame:
    """Rows of images as a clinic might deliver them; one lesion each."""
    size = rng.choice([600, 1022, 1024, 2048], n)
    rest = (1 - melanoma) / 4
    return pd.DataFrame(
        {
            "key": [f"{rng.integers(2**62)}" for _ in range(n)],
            "image_id": [f"{rng.integers(2**62)}" for _ in range(n)],
            "lesion_id": pd.Series([None] * n, dtype="str"),
            "label": rng.choice(
                ["melanoma", "nevus", "bkl", "bcc", "df"], n, p=[melanoma, *[rest] * 4]
            ),
            "source": rng.choice(["HAM10000", "ISIC, not HAM10000"], n, p=[0.7, 0.3]),
            "sex": rng.choice(["female", "male"], n),
            "width": size,
            "height": size * 3 // 4,
            "red": rng.normal(red, 25, n),
            "green": rng.normal(140, 25, n),
            "blue": rng.normal(130, 25, n),
            "age_years": rng.choice(np.arange(5, 90, 5), n).astype(float),
        }
    )


def shifts(old: pd.DataFrame, new: pd.DataFrame) -> list[str]:
    record = incomplete(Validated)
    nothing = pd.DataFrame(columns=["key", "image_id"])
    delivered = Delivered(
        frame=pd.concat([old, new], ignore_index=True),
        pairs=pd.DataFrame(columns=["first", "second"]),
        unexpected=dict,
        unmatched=(0, ()),
        classes=(),
        minimum_groups=2,
        previous=Previous("before", "accepted", record, old, nothing),
    )
    return [str(each).split(" ")[0] for each in distribution_shift(delivered).counted]


@pytest.mark.parametrize("n", [30, 100, 1000, 20_000])
def test_a_delivery_like_the_earlier_ones_does_not_alarm_however_large(n: int) -> None:
    """At most 0.001 for each of nine figures, so 0.9 % of deliveries; of 40, 3 or fewer but once
    in a thousand."""
    rng = np.random.default_rng(n)
    old = population(rng, 2000)
    times = 40 if n <= 1000 else 3
    assert sum(bool(shifts(old, population(rng, n))) for _ in range(times)) <= 3


def test_a_small_difference_in_a_large_delivery_is_no_alarm() -> None:
    """3 points more melanomas are certain (p < 1e-5) and negligible."""
    rng = np.random.default_rng(1)
    assert shifts(population(rng, 20_000), population(rng, 20_000, melanoma=0.23)) == []


@pytest.mark.parametrize(("n", "found"), [(100, 15), (300, 20)])
def test_a_real_shift_is_found_also_in_a_small_delivery(n: int, found: int) -> None:
    """Half melanomas instead of a fifth, and another camera's red."""
    rng = np.random.default_rng(n)
    old = population(rng, 2000)
    told = [shifts(old, population(rng, n, melanoma=0.5, red=200)) for _ in range(20)]
    assert sum("label" in each for each in told) >= found
    assert sum("red" in each for each in told) >= found


def test_too_few_new_lesions_are_not_compared() -> None:
    rng = np.random.default_rng(2)
    old = population(rng, 500)
    assert shifts(old, population(rng, 29, melanoma=0.9)) == []
    assert "label" in shifts(old, population(rng, 60, melanoma=0.9))
    many = population(rng, 60, melanoma=0.9).assign(lesion_id="one")
    assert shifts(old, many) == []  # 60 images of one lesion are one


# The run to compare with ------------------------------------------------------------------------


def committed(store: Store, step: str, run: str) -> None:
    """The mark that a step, or a promotion, leaves in the store."""
    store.replace(latest_key(step), json.dumps({"run": run}).encode())


@pytest.mark.parametrize(
    ("marks", "since", "basis"),
    [
        ({}, "third", "accepted"),
        ({"gate": "second"}, "second", "judged"),
        ({"gate": "third", "register": "second"}, "second", "registered"),
        ({"gate": "third", "register": "second", "promote": "first"}, "first", "in use"),
        ({"register": "second", "promote": "gone"}, "second", "registered"),
    ],
)
def test_a_failed_run_does_not_swallow_what_is_new(
    tmp_path: Path, marks: dict[str, str], since: str, basis: str
) -> None:
    store = open_store(str(tmp_path))
    put_lesions(store, "melanoma", range(100, 106))
    put_lesions(store, "nevus", range(200, 206))
    for name in ("first", "second", "third"):  # the last of them fails after validate, say
        do(run_of(store, name), "ingest", "validate")
    for step, run in marks.items():
        committed(store, step, run)
    put_lesions(store, "nevus", range(206, 208))
    changes = changes_of_new(store)
    assert (changes.since, changes.basis) == (since, basis)
    assert changes.new_files == 2


def changes_of_new(store: Store) -> Changes:
    run = run_of(store, "fourth")
    do(run, "ingest", "validate")
    return changes_of(run)
