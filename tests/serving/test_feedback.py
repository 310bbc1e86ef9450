"""Images are kept with consent alone, until the diagnosis comes and a reviewer decides."""

import io
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from tasks.engine.directory import DirectoryStore
from tasks.evaluation.traces import read
from tasks.feedback.kept import waiting, waiting_in
from tasks.serving.settings import Settings
from tests.serving.conftest import (
    ANNA,
    BERTA,
    CARL,
    CONSENT,
    PROVEN,
    UNKNOWN,
    asked_with_consent,
    client_of,
    png,
    sent,
)
from tests.support.dicoms import native

pytestmark = pytest.mark.slow

Array = np.ndarray[Any, Any]
NOISE = png(np.random.default_rng(0).integers(0, 256, (180, 180, 3), np.uint8))


# Consent ----------------------------------------------------------------------------------------


def test_where_feedback_is_off_nothing_is_kept_and_nothing_offered(
    reviewed: DirectoryStore, lesions: list[Array]
) -> None:
    before = waiting_in(reviewed)
    with client_of(reviewed) as client:
        for path in ("/predict", "/page/answer", "/"):
            found = client.post(path, data=CONSENT, **sent(png(lesions[1])))
            assert found.status_code == 403, path
            assert "keeps no images" in found.text
        shown = client.get("/").text
        assert not {each for each in ("consent", "/feedback") if each in shown}
        assert client.get("/feedback").status_code == 404
        assert client.post("/diagnosis", data={"lesion": UNKNOWN} | PROVEN).status_code == 404
        assert "/diagnosis" not in client.get("/openapi.json").json()["paths"]
    assert waiting_in(reviewed) == before


def test_without_consent_nothing_is_kept(
    keeping: TestClient, reviewed: DirectoryStore, lesions: list[Array]
) -> None:
    before = [entry.key for entry in reviewed.list("review/")]
    file = sent(png(lesions[1]))
    for path in ("/predict", "/page/answer", "/", "/predict/batch"):
        assert keeping.post(path, auth=ANNA, **file).status_code == 200
    assert keeping.post("/predict/batch", auth=ANNA, data=CONSENT, **file).status_code == 200
    answer = keeping.post("/predict", auth=ANNA, data={"consent": "false"}, **file).json()
    assert (answer["lesion"], answer["not_kept"]) == ("", "")
    shown = keeping.get("/", auth=ANNA).text
    assert 'name="consent"' in shown
    assert "checked" not in re.findall(r'<input[^>]*name="consent"[^>]*>', shown)[0]
    assert [entry.key for entry in reviewed.list("review/")] == before


def test_with_consent_the_answer_and_the_images_are_kept_under_the_number_of_the_trace(
    keeping: TestClient, reviewed: DirectoryStore, lesions: list[Array]
) -> None:
    files = [png(lesions[1]), png(lesions[2])]
    before = keeping.get("/metrics", auth=ANNA).text
    answer = keeping.post("/predict", data=CONSENT, auth=ANNA, **sent(*files)).json()
    found = waiting(reviewed, answer["lesion"])
    now = datetime.now(UTC)

    told = found.kept
    assert (told.by, told.version, told.synthetic) == ("anna", 1, True)
    assert told.decision == answer["decision"]
    assert told.probabilities == pytest.approx(answer["probabilities"])
    assert now - datetime.fromisoformat(told.at) < timedelta(minutes=1)
    assert len(told.images) == 2
    for _ in range(100):
        traces = read(reviewed, now - timedelta(hours=2), now + timedelta(hours=2))
        if answer["lesion"] in set(traces["lesion"]):
            break
        time.sleep(0.1)
    own = traces[traces["lesion"] == answer["lesion"]]
    assert len(own) == 2
    assert "melanoma_kept_lesions_total" in before
    after = keeping.get("/metrics", auth=ANNA).text
    assert counted(after) == counted(before) + 1


def counted(metrics: str, name: str = "melanoma_kept_lesions_total") -> float:
    return float(re.findall(rf"(?m)^{name} (\S+)$", metrics)[0])


def test_what_a_file_says_besides_its_picture_is_not_kept(
    keeping: TestClient, reviewed: DirectoryStore, lesions: list[Array]
) -> None:
    exif = Image.Exif()
    exif[0x010E] = "MARK-description"
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 12.5), 29: "MARK-gps"})
    photo, text = io.BytesIO(), io.BytesIO()
    picture = Image.fromarray(lesions[1])
    picture.save(photo, "JPEG", quality=95, exif=exif, comment=b"MARK-comment")
    picture.save(text, "TIFF", description="MARK-tiff")
    files = [photo.getvalue(), text.getvalue(), native(lesions[1], PatientName="MARK^Jane")]
    assert [data.count(b"MARK") for data in files] == [3, 1, 1]
    answer = keeping.post("/predict", data=CONSENT, auth=ANNA, **sent(*files)).json()

    own = [each for each in Path(reviewed.root).rglob("*") if answer["lesion"] in str(each)]
    assert len([each for each in own if each.is_file()]) == 4
    for path in (each for each in Path(reviewed.root).rglob("*") if each.is_file()):
        assert b"MARK" not in path.read_bytes(), path


def test_a_lesion_that_cannot_be_judged_is_kept_with_its_ground(
    keeping: TestClient, reviewed: DirectoryStore
) -> None:
    answer = asked_with_consent(keeping, NOISE)
    told = waiting(reviewed, answer["lesion"]).kept
    assert (told.decision, told.probabilities) == ("cannot judge", {})
    assert set(told.refused) == {each["ground"] for each in answer["refused"]}


def test_examples_and_what_the_challenger_is_asked_about_are_never_kept(
    keeping: TestClient, reviewed: DirectoryStore, lesions: list[Array]
) -> None:
    before = waiting_in(reviewed)
    example = keeping.post(
        "/page/answer", data=CONSENT | {"example": "a", "language": "en"}, auth=ANNA
    )
    assert "Nothing was kept" in example.text
    found = keeping.post(
        "/predict?standing=challenger", data=CONSENT, auth=BERTA, **sent(png(lesions[1]))
    ).json()
    assert found["lesion"] == ""
    assert "challenger" in found["not_kept"]
    assert waiting_in(reviewed) == before


def test_a_store_that_fails_costs_no_answer_and_the_answer_says_so(
    keeping: TestClient, reviewed: DirectoryStore, lesions: list[Array]
) -> None:
    review, aside = Path(reviewed.root, "review"), Path(reviewed.root, "aside")
    review.mkdir(exist_ok=True)
    review.rename(aside)
    review.write_text("no folder, so nothing can be kept below it")
    name = "melanoma_lesions_not_kept_total"
    before = counted(keeping.get("/metrics", auth=ANNA).text, name)
    try:
        answer = asked_with_consent(keeping, png(lesions[1]))
        page = keeping.post(
            "/page/answer", data=CONSENT | {"language": "en"}, auth=ANNA, **sent(png(lesions[1]))
        )
    finally:
        review.unlink()
        aside.rename(review)

    assert answer["probabilities"]
    assert answer["lesion"] == ""
    assert answer["not_kept"]
    assert page.status_code == 200
    assert "Nothing was kept" in page.text
    assert "Melanoma" in page.text
    assert counted(keeping.get("/metrics", auth=ANNA).text, name) == before + 2


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        ({"review_bytes": 1}, "too many wait for a reviewer"),
        ({"lesion_bytes": 1000}, "too large to be kept"),
        ({}, ""),
    ],
    ids=["full", "large", "room"],
)
def test_where_there_is_no_room_nothing_is_kept_and_the_answer_says_so(
    reviewed: DirectoryStore, lesions: list[Array], limits: dict[str, Any], why: str
) -> None:
    with client_of(reviewed, Settings(feedback=True, each_minute=1000, **limits)) as client:
        client.post("/predict", data=CONSENT, **sent(png(lesions[2])))
        answer = client.post("/predict", data=CONSENT, **sent(png(lesions[1]))).json()

    assert answer["probabilities"]
    assert why in answer["not_kept"]
    assert bool(answer["not_kept"]) == (answer["lesion"] == "") == bool(why)


# Who may see and enter --------------------------------------------------------------------------


def test_others_cannot_tell_a_lesion_from_none(keeping: TestClient, lesion: str) -> None:
    """Carl has asked about other lesions."""
    requests: list[tuple[str, str, dict[str, str]]] = [
        ("GET", "/feedback/{}", {}),
        ("GET", "/feedback/{}/images/1.png", {}),
        ("POST", "/feedback/{}", PROVEN),
        ("POST", "/feedback/{}/delete", {"reason": "none"}),
        ("POST", "/diagnosis", PROVEN),
    ]
    for method, path, data in requests:
        told = []
        for number in (lesion, UNKNOWN):
            sends = {"data": data | {"lesion": number}} if method == "POST" else {}
            found = keeping.request(method, path.format(number), auth=CARL, **sends)
            told.append((found.status_code, found.text.replace(number, "")))
        assert told[0] == told[1], path
        assert told[0][0] == 404, path
    assert lesion not in keeping.get("/feedback", auth=CARL).text


@pytest.mark.parametrize("person", [ANNA, BERTA], ids=["who asked", "a reviewer"])
def test_who_asked_and_reviewers_see_the_lesion(
    keeping: TestClient, reviewed: DirectoryStore, lesion: str, person: tuple[str, str]
) -> None:
    assert lesion in keeping.get("/feedback", auth=person).text
    page = keeping.get(f"/feedback/{lesion}", params={"language": "en"}, auth=person)
    assert page.status_code == 200
    assert "Enter the diagnosis" in page.text
    assert ("Delete the images" in page.text) == (person == BERTA)
    image = keeping.get(f"/feedback/{lesion}/images/1.png", auth=person)
    assert image.headers["content-type"] == "image/png"
    assert image.headers["cache-control"] == "no-store"
    assert image.content == reviewed.read(f"review/{lesion}/1.png")
    assert keeping.get(f"/feedback/{lesion}/images/2.png", auth=person).status_code == 404
    assert keeping.get(f"/feedback/{lesion}/images/lesion.json", auth=person).status_code == 404


@pytest.mark.parametrize("typed", ["{}", " {} ", "spaced", "upper"])
def test_the_number_in_the_patients_file_leads_to_the_lesion(
    keeping: TestClient, lesion: str, typed: str
) -> None:
    spaced = " ".join(lesion[at : at + 4] for at in range(0, 16, 4))
    number = {"spaced": spaced, "upper": spaced.upper()}.get(typed, typed.format(lesion))
    asked_for = {"lesion": number, "language": "de"}
    found = keeping.get("/feedback/find", params=asked_for, auth=ANNA)
    assert found.headers["location"] == f"/feedback/{lesion}?language=de"
    other = keeping.get("/feedback/find", params={"lesion": "//evil.example/\r\nx:"}, auth=ANNA)
    assert re.fullmatch(r"/feedback(/[0-9a-f]+)?", other.headers["location"])
