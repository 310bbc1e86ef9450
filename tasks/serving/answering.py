"""From the bytes of image files to an answer about one lesion.

The product's own decoder reads the files, so the model sees the same pixels as in its training,
whatever the file is: JPEG, PNG of 16 bits, CMYK, a phone's HEIC, DICOM.
"""

import base64
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image as Picture
from scipy.special import logit

from tasks.config import Retraining
from tasks.errors import BadInput
from tasks.evaluation.saliency import drawn, occlusion
from tasks.intake.contents import pictures_of
from tasks.intake.images import Decoded, Opened, opened
from tasks.intake.pseudonyms import for_now
from tasks.lesions import MELANOMA
from tasks.serving.answer import Answer, Refused
from tasks.serving.in_use import Loaded

Array = np.ndarray[Any, Any]

NOTICE = (
    "This software is no medical device. It supports the decision of a clinician and makes no "
    "diagnosis."
)


class Unreadable(BadInput):
    """A file that was sent is no image that can be read."""


@dataclass(frozen=True)
class Image:
    """One image of a lesion, decoded.

    Attributes:
        number: Which of the files that were sent, from 1.
        decoded: The packed pixels, and the facts of the file.
    """

    number: int
    decoded: Decoded


@dataclass(frozen=True)
class Answered:
    """An answer of a batch, with the images that the answer is about."""

    answer: Answer
    images: Sequence[Image]


def images_of(data: bytes, number: int, side: int, megapixels: int) -> list[Image]:
    """Decode one file; a DICOM may hold several images.

    Args:
        data: The file.
        number: Which of the files that were sent, from 1.
        side: Side of the packed square, in pixels.
        megapixels: A larger image is refused by its header, before memory is allocated.

    Raises:
        Unreadable: The file is no image, is damaged, or is too large.
    """
    config = Retraining(
        packed_size=side,
        image_size=min(side, Retraining().image_size),
        maximum_megapixels=megapixels,
    )
    found = pictures_of(data, config, for_now()).each
    images = [Image(number, each) for each in found if isinstance(each, Decoded)]
    for each in found:
        if not isinstance(each, Decoded):
            raise Unreadable(
                f"File {number} cannot be read.",
                expected="an image: JPEG, PNG, TIFF, BMP, WebP, HEIC or DICOM, at most "
                f"{megapixels} megapixels",
                received=each.reason,
                do="send the image as the camera or the archive made it",
            )
    return images


def lesion_of(files: Sequence[bytes], side: int, megapixels: int) -> list[Image]:
    """Decode the files of one lesion. Raises `Unreadable`."""
    return [
        image
        for number, data in enumerate(files, start=1)
        for image in images_of(data, number, side, megapixels)
    ]


def pixels_of(images: Sequence[Image]) -> Array:
    """uint8 ``(n, side, side, 3)``, RGB, 0 to 255."""
    return np.stack([each.decoded.pixels for each in images])


def answered(model: Loaded, images: Sequence[Image], *, attention: bool = False) -> Answer:
    """The answer about one lesion.

    Args:
        model: The model that answers.
        images: Images of the lesion, at least one.
        attention: Whether to show what the model looked at: about 80 predictions an image.
    """
    refused = refused_among(model, images)
    if refused:
        return no_answer(model, refused, len(images))
    pixels = pixels_of(images)
    found = model.alone.answers(pixels).mean(axis=0)
    shown = tuple(looked_at(model, each) for each in pixels) if attention else ()
    return in_words(model, found, len(images), attention=shown)


def refused_among(model: Loaded, images: Sequence[Image]) -> tuple[Refused, ...]:
    """Why the model cannot judge some of the images; empty where all can be judged."""
    if model.judge is None:
        return ()
    widths, heights = (
        np.array([getattr(each.decoded, name) for each in images]) for name in ("width", "height")
    )
    told = model.judge.judge(pixels_of(images), widths, heights)
    return tuple(
        Refused(image=image.number, ground=ground, measured=measured)
        for image, grounds in zip(images, told, strict=True)
        for ground, measured in grounds
    )


def no_answer(model: Loaded, refused: tuple[Refused, ...], images: int) -> Answer:
    """The answer about a lesion of which an image cannot be judged.

    A lesion is not judged by its other images: in the figures of the model, a lesion is refused
    where one of its images is.
    """
    return Answer(
        decision="cannot judge",
        probabilities={},
        refused=refused,
        images=images,
        model=model.facts,
        notice=NOTICE,
    )


def in_words(model: Loaded, found: Array, images: int, attention: tuple[str, ...] = ()) -> Answer:
    """The answer that a mean of probabilities is.

    Args:
        model: The model that answered.
        found: float ``(classes,)``.
        images: Images of the lesion.
        attention: As `Answer.attention`.
    """
    by_class = dict(zip(model.classes, found.astype(float).tolist(), strict=True))
    order = sorted(by_class, key=lambda name: (name != MELANOMA, -by_class[name]))
    called = by_class[MELANOMA] >= model.facts.threshold
    return Answer(
        decision="melanoma" if called else "not melanoma",
        probabilities={name: by_class[name] for name in order},
        refused=(),
        images=images,
        model=model.facts,
        attention=attention,
        notice=NOTICE,
    )


def answered_together(
    model: Loaded, files: Sequence[bytes], megapixels: int
) -> list["Answered | Unreadable"]:
    """An answer for each file, each the only image of its lesion, in their order.

    Files are decoded side by side and asked about in one go, which takes less time than file by
    file. A file that cannot be read costs no other its answer.
    """

    def decoded(numbered: tuple[int, bytes]) -> list[Image] | Unreadable:
        try:
            return images_of(numbered[1], numbered[0], model.side, megapixels)
        except Unreadable as error:
            return error

    with ThreadPoolExecutor() as threads:
        read = list(threads.map(decoded, enumerate(files, start=1)))
    every = [image for images in read if isinstance(images, list) for image in images]
    found = model.together.answers(pixels_of(every)) if every else np.zeros((0, 0))
    answers, at = list[Answered | Unreadable](), 0
    for images in read:
        if isinstance(images, Unreadable):
            answers.append(images)
            continue
        mean = found[at : at + len(images)].mean(axis=0)
        refused = refused_among(model, images)
        said = no_answer(model, refused, len(images)) if refused else None
        answers.append(Answered(said or in_words(model, mean, len(images)), images))
        at += len(images)
    return answers


def looked_at(model: Loaded, image: Array) -> str:
    """The image under a map of what speaks for melanoma (red) and against (blue), as a data URL.

    Args:
        model: The model.
        image: uint8 ``(side, side, 3)``, RGB.
    """
    melanoma = model.classes.index(MELANOMA)

    def score(shown: Array) -> Array:
        answers = model.together.answers(shown)[:, melanoma]
        return np.asarray(logit(np.clip(answers, 1e-6, 1 - 1e-6)))

    beside = opened(drawn(image, occlusion(score, image)), maximum_megapixels=64)
    assert isinstance(beside, Opened)
    return data_url(beside.rgb[:, image.shape[1] :])  # behind the image itself


def data_url(pixels: Array) -> str:
    """A PNG of uint8 ``(height, width, 3)`` as an address that holds the PNG itself."""
    buffer = io.BytesIO()
    Picture.fromarray(pixels).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
