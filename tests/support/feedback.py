"""Lesions that an app keeps, with drawn images."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from tasks.engine.person import Person
from tasks.engine.store import Store
from tasks.feedback.bare import Bare, bare
from tasks.feedback.kept import Diagnosed, Kept, diagnose, images_named, keep
from tests.support.dicoms import jpeg, photograph

REVIEWER = Person(name="rita", how="app", authenticated=True)
NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
SHA = "a" * 64


def number_of(seed: int) -> str:
    """The number of a lesion."""
    return np.random.default_rng(seed).bytes(8).hex()


def files(seed: int, images: int = 1) -> list[Bare]:
    return [bare(jpeg(photograph(1000 * seed + n)), 64)[0] for n in range(images)]


def kept(store: Store, seed: int, images: int = 1, **said: Any) -> str:
    """Keep a lesion; its number."""
    shown = files(seed, images)
    told = {
        "lesion": number_of(seed),
        "at": (NOON + timedelta(hours=seed)).isoformat(timespec="seconds"),
        "by": "carl",
        "version": 1,
        "model_sha256": SHA,
        "synthetic": False,
        "decision": "melanoma",
        "probabilities": {"melanoma": 0.7, "nevus": 0.3},
        "refused": (),
        "images": images_named(shown),
    }
    keep(store, Kept(**told | said), shown)
    return number_of(seed)


def diagnosed(
    store: Store, lesion: str, diagnosis: str = "melanoma", proof: str = "histopathology"
) -> None:
    said = Diagnosed.model_validate(
        {"diagnosis": diagnosis, "proof": proof, "by": "carl", "at": NOON.isoformat()}
    )
    diagnose(store, lesion, said)
