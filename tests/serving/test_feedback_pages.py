"""Later diagnoses, releases and deletions, by the pages and the API."""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from tasks.engine.deliveries import Delivery, facts_in
from tasks.engine.directory import DirectoryStore
from tasks.feedback.decided import decided_in
from tasks.feedback.kept import waiting, waiting_in
from tasks.serving.languages import languages, texts_in
from tasks.serving.settings import Settings
from tests.serving.conftest import (
    ANNA,
    BERTA,
    CARL,
    PROVEN,
    USERS,
    asked_with_consent,
    client_of,
    png,
)
from tests.support.feedback import kept

pytestmark = pytest.mark.slow

Array = np.ndarray[Any, Any]


def words_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", html).replace("\u00a0", " "))


# Diagnoses --------------------------------------------------------------------------------------


def test_a_diagnosis_is_entered_and_a_later_one_corrects_it(
    keeping: TestClient, reviewed: DirectoryStore, lesion: str
) -> None:
    first = {"lesion": lesion, "diagnosis": "nevus", "proof": "single image expert consensus"}
    told = keeping.post("/diagnosis", data=first, auth=ANNA).json()
    assert (told["lesion"], told["entries"]) == (lesion, 1)
    assert (told["diagnosed"]["diagnosis"], told["diagnosed"]["by"]) == ("nevus", "anna")
    sent_back = keeping.post(f"/feedback/{lesion}", data=PROVEN | {"language": "en"}, auth=BERTA)
    assert sent_back.status_code == 303
    page = words_of(keeping.get(sent_back.headers["location"], auth=ANNA).text)

    assert "The diagnosis is saved." in page
    assert "Melanoma, by histopathology · counts" in page
    assert "Nevus, by consensus of experts on a single image" in page
    assert [each.by for each in waiting(reviewed, lesion).diagnoses] == ["anna", "berta"]
    assert "Melanoma, by histopathology" in words_of(
        keeping.get("/feedback", params={"language": "en"}, auth=ANNA).text
    )


def test_a_melanoma_without_histopathology_is_refused_in_words(
    keeping: TestClient, reviewed: DirectoryStore, lesion: str
) -> None:
    wrong = {"diagnosis": "melanoma", "proof": "serial imaging showing no change"}
    page = keeping.post(f"/feedback/{lesion}", data=wrong | {"language": "en"}, auth=ANNA)
    api = keeping.post("/diagnosis", data=wrong | {"lesion": lesion}, auth=ANNA)

    assert (page.status_code, api.status_code) == (422, 422)
    assert "This does not prove a melanoma." in page.text
    assert "report of the pathologist" in page.text
    assert '<option value="melanoma" selected>' in page.text
    assert api.json()["detail"]["expected"] == "histopathology"
    assert waiting(reviewed, lesion).diagnoses == ()


@pytest.mark.parametrize("field", ["diagnosis", "proof"])
@pytest.mark.parametrize("value", ["", "<script>", "another diagnosis"])
def test_what_is_no_choice_is_refused(
    keeping: TestClient, reviewed: DirectoryStore, lesion: str, field: str, value: str
) -> None:
    data = PROVEN | {field: value}
    page = keeping.post(f"/feedback/{lesion}", data=data, auth=ANNA)
    api = keeping.post("/diagnosis", data=data | {"lesion": lesion}, auth=ANNA)
    assert (page.status_code, api.status_code) == (422, 422)
    assert "<script>" not in page.text
    assert waiting(reviewed, lesion).diagnoses == ()


# Reviewers --------------------------------------------------------------------------------------


def test_a_reviewer_releases_into_a_delivery(
    keeping: TestClient, reviewed: DirectoryStore, lesion: str
) -> None:
    chosen = {"lesion": lesion, "language": "en"}
    keeping.post(f"/feedback/{lesion}", data=PROVEN, auth=BERTA)
    refused = keeping.post("/feedback/release", data=chosen, auth=ANNA)
    assert refused.status_code == 403
    assert "Only reviewers" in refused.text
    assert waiting(reviewed, lesion)
    done = keeping.post("/feedback/release", data=chosen, auth=BERTA)
    page = words_of(keeping.get(done.headers["location"], auth=BERTA).text)

    assert done.status_code == 303
    (_, fact) = decided_in(reviewed).released[-1]
    assert (fact.kept.lesion, fact.by.name, fact.by.authenticated) == (lesion, "berta", True)
    assert fact.by.how == "app"
    assert [Image.open(io.BytesIO(reviewed.read(key))).size for key in fact.keys] == [(180, 180)]
    assert all(key.startswith("raw/feedback/melanoma/") for key in fact.keys)
    assert list(reviewed.list(f"review/{lesion}/")) == []
    delivered = [each for each in facts_in(reviewed) if isinstance(each, Delivery)][-1]
    assert delivered.by.name == "berta"
    assert set(fact.keys) <= set(delivered.keys)
    assert "The lesions are released." in page
    assert "figures are no estimate for all lesions" in page
    shown = " ".join(lesion[at : at + 4] for at in range(0, 16, 4))
    assert shown.replace(" ", "") in page.partition("Released")[2]
    assert lesion not in words_of(keeping.get("/feedback", auth=CARL).text)


def test_what_one_person_alone_asked_about_and_entered_is_marked(
    keeping: TestClient, lesions: list[Array]
) -> None:
    number = asked_with_consent(keeping, png(lesions[2]), BERTA)["lesion"]
    for enters, marked in (("anna", False), ("berta", True)):
        keeping.post(f"/feedback/{number}", data=PROVEN, auth=(enters, USERS[enters]))
        for path in ("/feedback", f"/feedback/{number}"):
            page = keeping.get(path, params={"language": "en"}, auth=BERTA).text
            assert ("nobody else has looked" in page) == marked, path


def test_nothing_is_released_without_a_choice_or_a_diagnosis(
    keeping: TestClient, reviewed: DirectoryStore, lesion: str
) -> None:
    before = len(decided_in(reviewed).released)
    for chosen, told in (
        ({}, "No lesion was chosen"),
        ({"lesion": lesion}, "diagnosis is missing"),
    ):
        found = keeping.post("/feedback/release", data=chosen, auth=BERTA)
        assert found.status_code == 422
        assert told in found.text
    gone = keeping.post("/feedback/release", data={"lesion": "../../raw"}, auth=BERTA)
    assert gone.status_code == 404
    assert len(decided_in(reviewed).released) == before
    assert waiting(reviewed, lesion)


def test_a_deletion_needs_a_reason_and_leaves_no_image(
    keeping: TestClient, reviewed: DirectoryStore, lesion: str
) -> None:
    address = f"/feedback/{lesion}/delete"
    owner = keeping.post(address, data={"reason": "withdrawn"}, auth=ANNA)
    none = keeping.post(address, data={"reason": "  "}, auth=BERTA)
    assert (owner.status_code, none.status_code) == (403, 422)
    assert "why the images are deleted" in none.text
    assert waiting(reviewed, lesion)
    done = keeping.post(address, data={"reason": "<b>withdrawn</b>"}, auth=BERTA)

    assert done.status_code == 303
    assert list(reviewed.list(f"review/{lesion}/")) == []
    (_, fact) = decided_in(reviewed).deleted[-1]
    assert (fact.lesion, fact.by.name, fact.reason) == (lesion, "berta", "<b>withdrawn</b>")
    assert keeping.get(f"/feedback/{lesion}", auth=BERTA).status_code == 404


# Without a login ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """The app on a person's own machine, with no model in use."""
    store = DirectoryStore(tmp_path_factory.mktemp("alone"))
    settings = Settings(feedback=True, root_path="/derma", each_minute=100_000)
    with client_of(store, settings, follow_redirects=False) as client:
        yield client


def store_of(client: TestClient) -> DirectoryStore:
    store = client.app.state.follower.store  # type: ignore[attr-defined]  # it is a FastAPI
    assert isinstance(store, DirectoryStore)
    return store


def test_without_a_login_the_user_of_the_machine_reviews(alone: TestClient) -> None:
    store = store_of(alone)
    lesion = kept(store, 1, by="")
    alone.post(f"/feedback/{lesion}", data=PROVEN)
    assert "somebody without a login" in alone.get("/feedback?language=en").text
    done = alone.post("/feedback/release", data={"lesion": lesion})
    assert done.headers["location"] == "/derma/feedback?done=released"
    (_, fact) = decided_in(store).released[-1]
    assert (fact.by.how, fact.by.authenticated) == ("command line", False)


@pytest.mark.parametrize("language", languages())
def test_text_of_records_stays_text_in_every_language(alone: TestClient, language: str) -> None:
    store, hostile = store_of(alone), "\"><script>alert('x')</script>{n}"
    seed = 10 + 2 * languages().index(language)
    lesion = kept(store, seed, by=hostile, probabilities={hostile: 0.9})
    kept(store, seed + 1, by=hostile, probabilities={}, refused=(hostile,), decision="cannot judge")
    refused = alone.post(f"/feedback/{lesion}", data={"diagnosis": hostile, "language": language})
    alone.post(f"/feedback/{lesion}", data=PROVEN)
    asked_for = {"language": language, "done": "<script>"}
    pages = [
        refused.text,
        *(alone.get(path, params=asked_for).text for path in ("/feedback", f"/feedback/{lesion}")),
    ]
    for page in pages:
        assert "<script>" not in page
        assert "alert(" in page
        assert "{n}" in page
        assert f'<html lang="{language}">' in page
        assert texts_in(language).words["notice"] in page
        addresses = re.findall(r'(?:src|href|action)="(/[^"]*)"', page)
        assert [each for each in addresses if not each.startswith("/derma/")] == []
        assert re.findall(r"<style|\sstyle=|\son[a-z]+=|javascript:", page) == []


def test_the_list_is_short_and_what_waits_behind_it_is_counted(
    alone: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.serving.reviewing.MOST_WAITING", 2)
    store = store_of(alone)
    before = len(waiting_in(store))
    numbers = [kept(store, seed, at=f"2020-01-0{9 - seed}T00:00:00+00:00") for seed in (5, 6, 7)]
    page = alone.get("/feedback?language=en").text
    assert [number in page for number in numbers] == [False, True, True]
    assert f"wait behind these: {before + 1}." in page
    assert page.index(numbers[2]) < page.index(numbers[1])


def test_a_record_that_was_changed_is_told_and_not_believed(alone: TestClient) -> None:
    lesion = kept(store_of(alone), 9)
    record = Path(store_of(alone).root, f"review/{lesion}/lesion.json")
    written = record.read_bytes()
    record.write_text("{}")
    try:
        found = alone.get(f"/feedback/{lesion}")
        assert found.status_code == 500
        assert "cannot be read" in found.text
        listed = alone.get("/feedback?language=en").text  # the others are not hidden
        assert "because a file was changed: 1." in listed
        assert lesion in listed
        assert f"/feedback/{lesion}?" not in listed
        told = alone.post("/diagnosis", data=PROVEN | {"lesion": lesion})
    finally:
        record.write_bytes(written)
    assert told.status_code == 500
    assert "lesion.json" in told.json()["detail"]["expected"]
    assert alone.get(f"/feedback/{lesion}").status_code == 200
    assert "because a file was changed" not in alone.get("/feedback?language=en").text
