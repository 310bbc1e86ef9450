"""The API answers as the model was judged, whatever kind of file shows a lesion."""

import io
import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from tasks.__main__ import main
from tasks.engine.directory import DirectoryStore
from tasks.evaluation.refusals import REFUSED
from tasks.lesions import MELANOMA
from tasks.records.refusals import GROUNDS
from tasks.serving.answering import NOTICE
from tests.serving.conftest import client_of, png, sent
from tests.support.dicoms import native, photograph

pytestmark = pytest.mark.slow

Array = np.ndarray[Any, Any]
PICTURE = png(photograph(1))
NOISE = png(np.random.default_rng(0).integers(0, 256, (180, 180, 3), np.uint8))


def test_the_app_answers_as_the_model_was_judged(
    app: TestClient, store: DirectoryStore, judged: pd.DataFrame
) -> None:
    """The files as delivered: decoded, squeezed and asked as in the pipeline."""
    assert 0 < (judged[REFUSED] == "").sum() < len(judged)
    for row in judged.to_dict("records"):
        answer = app.post("/predict", **sent(store.read(row["key"]))).json()
        assert (answer["decision"] == "cannot judge") == bool(row[REFUSED])
        if row[REFUSED]:
            continue
        for name, probability in answer["probabilities"].items():
            assert probability == pytest.approx(row[name], abs=1e-5)
        called = row[MELANOMA] >= answer["model"]["threshold"]
        assert answer["decision"] == ("melanoma" if called else "not melanoma")


def test_melanoma_comes_first_and_the_model_is_named(app: TestClient, lesions: list[Array]) -> None:
    answer = app.post("/predict", **sent(png(lesions[1]))).json()

    order = list(answer["probabilities"])
    others = [answer["probabilities"][name] for name in order[1:]]
    assert order[0] == MELANOMA
    assert others == sorted(others, reverse=True)
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert answer["notice"] == NOTICE
    assert "no diagnosis" in NOTICE
    facts = answer["model"]
    assert (facts["version"], facts["standing"], facts["run"]) == (1, "champion", "first")
    assert facts["synthetic"] is True
    assert facts["images"] > 0
    own = facts["judged"][0]
    assert own["where"] == ""
    assert 0 < own["found"]["n"] < own["found"]["n"] + own["cleared"]["n"]
    ppv = facts["predictive_value"]
    assert ppv["prevalence"] == 0.02
    assert 0 <= ppv["lower"] <= ppv["value"] <= ppv["upper"] <= 1


# One lesion in several kinds of file ------------------------------------------------------------


def kinds_of_file(rgb: Array) -> dict[str, bytes]:
    """The same pixels in files that lose nothing."""
    wide = cv2.cvtColor(rgb.astype(np.uint16) * 257, cv2.COLOR_RGB2BGR)
    turned, tagged = io.BytesIO(), Image.Exif()
    tagged[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(np.rot90(rgb)).save(turned, "PNG", exif=tagged)
    lossless, tiff = io.BytesIO(), io.BytesIO()
    Image.fromarray(rgb).save(lossless, "WEBP", lossless=True)
    Image.fromarray(rgb).save(tiff, "TIFF")
    return {
        "png": png(rgb),
        "png of 16 bits": cv2.imencode(".png", wide)[1].tobytes(),
        "turned by EXIF": turned.getvalue(),
        "webp": lossless.getvalue(),
        "tiff": tiff.getvalue(),
        "dicom": native(rgb),
    }


def jpegs_of(rgb: Array) -> dict[str, bytes]:
    """The pixels that a JPEG holds, as the JPEG and as a PNG of what it holds."""
    plain = io.BytesIO()
    Image.fromarray(rgb).save(plain, "JPEG", quality=90)
    held = np.asarray(Image.open(io.BytesIO(plain.getvalue())))
    return {"jpeg": plain.getvalue(), "what the jpeg holds": png(held)}


@pytest.mark.parametrize("make", [kinds_of_file, jpegs_of], ids=lambda each: each.__name__)
def test_one_lesion_has_one_answer_in_every_kind_of_file_and_by_every_way(
    app: TestClient, store: DirectoryStore, tmp_path: Path, make: Any, lesions: list[Array]
) -> None:
    files = make(lesions[3])
    alone = {
        kind: app.post("/predict", **sent(data)).json()["probabilities"]
        for kind, data in files.items()
    }
    batch = app.post("/predict/batch", **sent(*files.values())).json()
    folder = tmp_path / "images"
    folder.mkdir()
    for number, (kind, data) in enumerate(files.items()):
        (folder / f"{number}.{'dcm' if kind == 'dicom' else 'png'}").write_bytes(data)
    assert main(["predict", str(folder), "--store", store.uri, "--output", f"{folder}.csv"]) == 0
    table = pd.read_csv(f"{folder}.csv").set_index("file")

    expected = next(iter(alone.values()))
    assert expected
    for number, kind in enumerate(files):
        row = table.loc[f"{number}.{'dcm' if kind == 'dicom' else 'png'}"]
        for name, probability in expected.items():
            assert alone[kind][name] == pytest.approx(probability, abs=1e-6), kind
            given = batch[number]["answer"]["probabilities"][name]
            assert given == pytest.approx(probability, abs=1e-6), kind
            assert row[name] == pytest.approx(probability, abs=1e-6), kind


def test_another_lesion_has_another_answer(app: TestClient, lesions: list[Array]) -> None:
    one, other = (
        app.post("/predict", **sent(png(lesions[number]))).json()["probabilities"]
        for number in (3, 4)
    )
    assert one != other


def test_several_images_of_a_lesion_are_averaged(app: TestClient, lesions: list[Array]) -> None:
    files = [png(pixels) for pixels in lesions[:3]]
    each = [app.post("/predict", **sent(file)).json()["probabilities"] for file in files]
    together = app.post("/predict", **sent(*files)).json()

    assert together["images"] == 3
    for name, probability in together["probabilities"].items():
        assert probability == pytest.approx(np.mean([one[name] for one in each]), abs=1e-6)


def test_what_the_model_looked_at_is_shown_only_where_asked_for(
    app: TestClient, lesions: list[Array]
) -> None:
    file = png(lesions[1])
    assert app.post("/predict", **sent(file)).json()["attention"] == []
    (shown,) = app.post("/predict", **sent(file), data={"attention": "true"}).json()["attention"]
    assert shown.startswith("data:image/png;base64,")


# What the model cannot judge -------------------------------------------------------------------


def test_what_is_no_skin_is_refused_with_its_ground(app: TestClient) -> None:
    answer = app.post("/predict", **sent(NOISE), data={"attention": "true"}).json()
    assert (answer["decision"], answer["probabilities"]) == ("cannot judge", {})
    assert answer["attention"] == []
    assert {each["image"] for each in answer["refused"]} == {1}
    for each in answer["refused"]:
        assert each["ground"] in GROUNDS
        assert re.search(r"[0-9]", each["measured"])


def test_a_lesion_is_refused_where_one_of_its_images_is(
    app: TestClient, lesions: list[Array]
) -> None:
    answer = app.post("/predict", **sent(png(lesions[0]), NOISE)).json()
    assert answer["decision"] == "cannot judge"
    assert {each["image"] for each in answer["refused"]} == {2}


def test_in_a_batch_a_refused_image_costs_no_other_its_answer(
    app: TestClient, lesions: list[Array]
) -> None:
    good = png(lesions[1])
    first, second, third = app.post("/predict/batch", **sent(good, NOISE, good)).json()
    assert first["answer"] == third["answer"]
    assert first["answer"]["probabilities"]
    assert second["answer"]["decision"] == "cannot judge"


def test_the_figures_tell_how_many_lesions_are_refused(app: TestClient) -> None:
    own = app.get("/model").json()["champion"]["judged"][0]
    assert own["refused"]["n"] > 0
    assert own["melanomas_refused"]["n"] < own["refused"]["n"]


# What cannot be answered ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "empty"),
        (b"\x00" * 100, "not that of an image"),
        (b"%PDF-1.7 ...", "a PDF"),
        (b"<svg onload='x'/>", "XML or HTML"),
        (PICTURE[:-200], "truncated"),
    ],
)
def test_a_file_that_is_no_image_is_told(app: TestClient, data: bytes, told: str) -> None:
    found = app.post("/predict", **sent(PICTURE, data))
    assert found.status_code == 422
    problem = found.json()["detail"]
    assert problem["problem"] == "File 2 cannot be read."
    assert told in problem["received"]
    assert problem["do"]


def test_in_a_batch_a_file_that_is_no_image_costs_no_other_its_answer(
    app: TestClient, lesions: list[Array]
) -> None:
    good = png(lesions[1])
    first, second, third = app.post("/predict/batch", **sent(good, b"no image", good)).json()
    assert first["answer"] == third["answer"]
    assert second["answer"] is None
    assert "not that of an image" in second["problem"]["received"]


def test_an_image_of_too_many_pixels_is_refused_by_its_header(store: DirectoryStore) -> None:
    from tasks.serving.settings import Settings

    with client_of(store, Settings(megapixels=1)) as client:
        found = client.post("/predict", **sent(png(np.zeros((1100, 1000, 3), np.uint8))))
        assert found.status_code == 422
        assert "1 megapixels; at most 1" in found.json()["detail"]["received"]
        assert client.post("/predict", **sent(png(photograph(1, 900, 900)))).status_code == 200


@pytest.mark.parametrize("path", ["/predict", "/predict/batch"])
def test_no_files_or_too_many_are_refused(app: TestClient, path: str) -> None:
    assert app.post(path).status_code == 422
    file = png(photograph(1, 16, 16))
    most = 8 if path == "/predict" else 64
    assert app.post(path, **sent(*[file] * most)).status_code == 200
    found = app.post(path, **sent(*[file] * (most + 1)))
    assert found.status_code == 422
    assert f"1 to {most} files" in json.dumps(found.json())


# Health, readiness, figures ---------------------------------------------------------------------


def test_health_readiness_and_the_model_are_told(app: TestClient) -> None:
    assert app.get("/health").json() == {"status": "alive"}
    assert app.get("/ready").json() == {"status": "ready"}
    told = app.get("/model").json()
    assert told["champion"]["version"] == 1
    assert told["challenger"]["version"] == 2
    assert told["problem"] == ""


def test_answers_are_counted_by_version_decision_and_class(
    store: DirectoryStore, lesions: list[Array]
) -> None:
    with client_of(store) as client:
        before = client.get("/metrics").text
        answer = client.post("/predict", **sent(png(lesions[1]))).json()
        client.post("/predict", **sent(NOISE))
        client.post("/predict", **sent(b"no image"))
        after = client.get("/metrics").text
    likely = max(answer["probabilities"], key=lambda name: answer["probabilities"][name])
    line = (
        f'melanoma_answers_total{{decision="{answer["decision"]}",most_probable="{likely}",'
        'version="1"} 1.0'
    )
    assert line in after
    assert line not in before
    assert re.search(r'melanoma_refusals_total{ground="[a-z ]+",version="1"} 1.0', after)
    assert "melanoma_unreadable_files_total 1.0" in after
    assert 'melanoma_answer_seconds_count{path="/predict",status="200"} 2.0' in after
    assert 'melanoma_model_version{standing="champion"} 1.0' in after


def test_openapi_describes_every_answer(app: TestClient) -> None:
    described = app.get("/openapi.json").json()
    assert {"/predict", "/predict/batch", "/model", "/health", "/ready", "/metrics"} <= set(
        described["paths"]
    )
    schema = described["components"]["schemas"]["Answer"]["properties"]
    assert all(field.get("description") or field.get("$ref") for field in schema.values())
