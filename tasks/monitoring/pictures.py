"""Decode the images of a set a few at a time, so that memory does not grow with the set."""

import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd

from tasks.config import Retraining
from tasks.intake.contents import pictures_of
from tasks.intake.folder import PlainFile
from tasks.intake.guide import Guide, source_by
from tasks.intake.images import Decoded
from tasks.intake.pseudonyms import for_now
from tasks.intake.tables import Row
from tasks.monitoring.scored import LeftOut

log = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]

AT_ONCE = 256  # images whose pixels are in memory: 25 MB at 180 px
EVERY_SECONDS = 10.0  # between two lines of progress
COLUMNS = ("lesion_id", "patient_id", "age_years", "sex", "site")
FACTS = ("pixel_hash", "thumbnail", "width", "height")


def looked_at(
    rows: Sequence[Row], packed_px: int, guide: Guide, left: list[LeftOut]
) -> pd.DataFrame:
    """The rows with what decoding tells about each image, without its pixels.

    Args:
        rows: As `tasks.monitoring.labelled.Labelled.rows`.
        packed_px: Side to which images are packed, as in the model's training.
        guide: What a person says about sources.
        left: Images that cannot be decoded are appended, with the reason.
    """
    found, nobody = list[Row](), for_now()  # only the table's patients are compared with others
    config, files = _config(packed_px), [row["file"] for row in rows]
    progress = Progress(len(rows), "looked at")
    with ThreadPoolExecutor() as threads:
        for start in range(0, len(rows), AT_ONCE):
            part = rows[start : start + AT_ONCE]
            read = threads.map(
                lambda file: pictures_of(file.read(), config, nobody),
                files[start : start + AT_ONCE],
            )
            for row, result in zip(part, read, strict=True):
                first, *others = result.each
                if others or not isinstance(first, Decoded):
                    several = f"the file holds {len(others) + 1} frames, and the table one row"
                    reason = several if others else getattr(first, "reason", "")
                    name, path = row["image_id"], row["file"].within
                    left.append(LeftOut(image_id=name, reason=reason, file=path))
                    continue
                key = f"raw/images/{row['file'].within}"
                device = result.tags.device if result.tags else ""
                facts = {name: getattr(first, name) for name in FACTS}
                facts |= dict(zip(("red", "green", "blue"), first.colour, strict=True))
                source = source_by(key, row["image_id"], guide, device)
                found.append(row | facts | {"source": source})
            progress.at(start + len(part))
    frame = pd.DataFrame(found)
    for name in ("image_id", *COLUMNS):
        frame[name] = frame.get(name)
    return frame.astype(dict.fromkeys(("image_id", "lesion_id", "patient_id"), "str"))


def pixels_in_turn(files: Sequence[PlainFile], packed_px: int) -> Iterator[Array]:
    """The pixels of images that `looked_at` could decode, a few at a time.

    Yields:
        uint8 ``(AT_ONCE or fewer, packed_px, packed_px, 3)``, RGB, 0 to 255, in the order of files.

    Raises:
        Momentary: A file changed since the folder was listed.
    """
    config, nobody = _config(packed_px), for_now()

    def pixels(file: PlainFile) -> Array:
        (only,) = pictures_of(file.read(), config, nobody).each
        assert isinstance(only, Decoded)
        return only.pixels

    progress = Progress(len(files), "answered")
    with ThreadPoolExecutor() as threads:
        for start in range(0, len(files), AT_ONCE):
            yield np.stack(list(threads.map(pixels, files[start : start + AT_ONCE])))
            progress.at(min(start + AT_ONCE, len(files)))


def _config(packed_px: int) -> Retraining:
    return Retraining(packed_size=packed_px, image_size=min(packed_px, Retraining().image_size))


class Progress:
    """Lines of progress in the log, and none for what takes no time."""

    def __init__(self, total: int, what: str) -> None:
        self.total, self.what, self.last = total, what, time.monotonic()

    def at(self, done: int) -> None:
        now = time.monotonic()
        if now - self.last >= EVERY_SECONDS:
            self.last = now
            log.info("%d of %d images %s.", done, self.total, self.what)
