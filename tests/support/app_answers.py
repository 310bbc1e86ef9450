"""Answers and facts that the page of the app is asked to show."""

import base64
import io

import numpy as np
from PIL import Image

from tasks.records.refusals import Ground
from tasks.serving.answer import (
    Answer,
    Counted,
    Judged,
    ModelFacts,
    PredictiveValue,
    Refused,
)

NOTICE = "This app is no medical device. Its answer is no diagnosis."

OWN = Judged(
    where="",
    found=Counted(successes=79, n=81, lower=0.9136, upper=0.997),
    cleared=Counted(successes=100, n=148, lower=0.594, upper=0.7502),
)
PH2 = Judged(
    where="ph2",
    found=Counted(successes=39, n=39, lower=0.9097, upper=1.0),
    cleared=Counted(successes=48, n=160, lower=0.2302, upper=0.3774),
)
CHAMPION = ModelFacts(
    version=7,
    standing="champion",
    sha256="5b" * 32,
    recipe="best",
    trained="2026-11-28T04:31:07+00:00",
    images=4812,
    run="scheduled-2026-11-28",
    synthetic=False,
    threshold=0.082,
    judged=(OWN, PH2),
    predictive_value=PredictiveValue(prevalence=0.04, value=0.1149, lower=0.081, upper=0.1662),
)
CHALLENGER = CHAMPION.model_copy(
    update={
        "version": 8,
        "standing": "challenger",
        "sha256": "c4" * 32,
        "run": "scheduled-2026-11-30",
        "threshold": 0.11,
        "judged": (OWN,),
        "predictive_value": None,
    }
)
PROBABILITIES = {
    "melanoma": 0.231,
    "nevus": 0.604,
    "pigmented benign keratosis": 0.081,
    "seborrheic keratosis": 0.034,
    "basal cell carcinoma": 0.021,
    "dermatofibroma": 0.012,
    "actinic keratosis": 0.009,
    "vascular lesion": 0.0053,
    "squamous cell carcinoma": 0.0027,
}
HARMLESS = {**PROBABILITIES, "melanoma": 0.021, "nevus": 0.814}
CANCER = {"melanoma": 0.021, "basal cell carcinoma": 0.731, "nevus": 0.104} | {
    name: share for name, share in PROBABILITIES.items() if share < 0.1 and "basal" not in name
}


def drawn_lesion(seed: int, *, size: int = 160, looked: bool = False) -> bytes:
    """A drawn lesion on skin, as PNG.

    Args:
        seed: Of its shape.
        size: Width and height, in pixels.
        looked: Whether red and blue lie over it, as over a map of where a model looked.
    """
    shape = np.random.default_rng(seed).uniform(0.7, 1.3, 2)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    spot = np.clip(3 - 5 * np.hypot(x * shape[0], y * shape[1]), 0, 1)[..., None]
    rgb = np.array([226, 178, 152]) * (1 - spot) + np.array([92, 52, 40]) * spot
    if looked:
        red, blue = (np.exp(-6 * ((x - at) ** 2 + y**2))[..., None] for at in (0.2, -0.6))
        rgb = rgb + red * np.array([150, -40, -40]) + blue * np.array([-60, -30, 140])
    file = io.BytesIO()
    Image.fromarray(np.clip(rgb, 0, 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def data_url(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def answered(
    *, model: ModelFacts = CHAMPION, images: int = 1, attention: bool = False, **changed: object
) -> Answer:
    """An answer: melanoma, of one image, unless told otherwise."""
    maps = tuple(data_url(drawn_lesion(each, looked=True)) for each in range(images))
    answer = Answer(
        decision="melanoma",
        probabilities=PROBABILITIES,
        refused=(),
        images=images,
        model=model,
        attention=maps if attention else (),
        notice=NOTICE,
    )
    return answer.model_copy(update=changed)


def refused(*grounds: Ground, images: int = 1, model: ModelFacts = CHAMPION) -> Answer:
    """A refusal: each ground is one image's, the first image's first."""
    return answered(
        model=model,
        images=images,
        decision="cannot judge",
        probabilities={},
        refused=tuple(
            Refused(image=number, ground=ground, measured="sharpness 3.1, at least 8 is needed")
            for number, ground in enumerate(grounds, 1)
        ),
    )


def shown(images: int = 1) -> list[str]:
    """Data URLs of images that were sent."""
    return [data_url(drawn_lesion(each)) for each in range(images)]
