"""What an app is asked about, and what its model learned from, drawn as numbers: no images."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from tasks.evaluation.descriptor import DIMENSIONS, VERSION
from tasks.evaluation.traces import ACQUISITION, HOUR, Trace, table_of
from tasks.monitoring.reference import Facts, Reference
from tests.support.judged import NOTHING

SHA = "a" * 64
NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
CLASSES = np.array(["melanoma", "nevus", "basal cell carcinoma"])


@dataclass(frozen=True)
class Clinic:
    """What the images of a clinic look like, and what a model answers about them."""

    sizes: tuple[tuple[int, int], ...] = ((600, 450), (1024, 768))
    format: str = "JPEG"
    encoding: str = "quality 90, 4:2:0"
    skin: tuple[float, float, float] = (200.0, 150.0, 130.0)
    sharpness: float = 100.0
    moved: float = 0.0  # of the whole descriptor, in standard deviations
    classes: tuple[float, ...] = (0.2, 0.6, 0.2)
    refused: float = 0.05
    packed_px: int = 180
    model: str = SHA

    def but(self, **changes: Any) -> "Clinic":
        return replace(self, **changes)

    def figures(self, n: int, draw: np.random.Generator) -> pd.DataFrame:
        sizes = np.array(self.sizes)[draw.integers(0, len(self.sizes), n)]
        skin = np.array(self.skin) + draw.normal(0, 15, (n, 3))
        sharp = self.sharpness * draw.lognormal(0, 0.4, n)
        measured = np.column_stack([skin - 20, sharp, skin])
        table = pd.DataFrame(measured, columns=list(ACQUISITION))
        points = draw.normal(self.moved, 1, (n, DIMENSIONS)).astype(np.float32)
        return table.assign(
            width=sizes[:, 0],
            height=sizes[:, 1],
            format=self.format,
            encoding=self.encoding,
            descriptor=list(points),
        )

    def answers(self, n: int, draw: np.random.Generator) -> pd.DataFrame:
        named = CLASSES[draw.choice(len(CLASSES), n, p=self.classes)]
        melanoma = np.where(named == "melanoma", draw.beta(8, 3, n), draw.beta(1, 8, n))
        return pd.DataFrame({"answered": named, "melanoma_probability": melanoma})


USUAL = Clinic()


def reference(
    n: int = 600, answered: int = 300, seed: int = 1, clinic: Clinic = USUAL, **facts: Any
) -> Reference:
    draw = np.random.default_rng(seed)
    told = Facts(
        **{
            "version": 3,
            "run": "store/runs/first",
            "model_sha256": SHA,
            "threshold": 0.4,
            "packed_px": 180,
            "descriptor_version": VERSION,
            "lesions_learned": n,
            "encodings_known": True,
            "refused": (15, 300),
            "made": NOON.isoformat(),
            "learned": NOTHING,
            "answered": NOTHING,
        }
        | facts
    )
    return Reference(told, clinic.figures(n, draw), clinic.answers(answered, draw))


def traces(n: int, seed: int = 2, clinic: Clinic = USUAL, now: datetime = NOON) -> list[Trace]:
    """Traces of the last week, one image of a lesion each."""
    draw = np.random.default_rng(seed)
    figures, answers = clinic.figures(n, draw), clinic.answers(n, draw)
    refused = draw.random(n) < clinic.refused
    ages = np.sort(draw.integers(1, 7 * 24, n))[::-1]
    made = []
    for at in range(n):
        row, answer = figures.iloc[at], answers.iloc[at]
        wrong = bool(refused[at])
        called = "melanoma" if answer["melanoma_probability"] >= 0.4 else "not melanoma"
        made.append(
            Trace(
                hour=(now - timedelta(hours=int(ages[at]))).strftime(HOUR),
                lesion=draw.bytes(8).hex(),
                version=3,
                model_sha256=clinic.model,
                packed_px=clinic.packed_px,
                descriptor_version=VERSION,
                descriptor=tuple(map(float, row["descriptor"])),
                melanoma_probability=None if wrong else answer["melanoma_probability"],
                answered=None if wrong else answer["answered"],
                decision="cannot judge" if wrong else called,
                refused=("blurred",) if wrong else (),
                **{
                    name: row[name]
                    for name in ("width", "height", "format", "encoding", *ACQUISITION)
                },
            )
        )
    return made


def asked(*parts: list[Trace]) -> pd.DataFrame:
    return table_of([trace for part in parts for trace in part])
