"""Tables of images that share ids or nothing, and how they are split."""

import io
from typing import Any

import pandas as pd
from hypothesis import strategies as st

from tasks.engine.run import Run
from tasks.records.split import Split
from tasks.splitting.groups import LINKS, groups_of
from tasks.splitting.sides import decided_by, side_of
from tasks.splitting.split import _settle

few = st.one_of(st.none(), st.integers(0, 8).map(str))
images = st.lists(
    st.fixed_dictionaries({"pixel_hash": few, "lesion_id": few, "patient_id": few}), max_size=30
)


def frame_of(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows of a manifest; each image has an id of its own."""
    names = [f"I{number:03d}" for number in range(len(rows))]
    named = [
        row | {"image_id": name, "key": f"raw/{name}", "label": "nevus"}
        for name, row in zip(names, rows, strict=True)
    ]
    return pd.DataFrame(named, columns=[*LINKS, "key", "label"]).astype("str")


def sides(frame: pd.DataFrame, register: dict[str, str] | None = None) -> pd.DataFrame:
    frame = frame.assign(group=groups_of(frame), decided_by=decided_by(frame, register or {}))
    return frame.assign(side=[side_of(what, 0.3, 0.3) for what in frame["decided_by"]])


def split_in_turn(deliveries: list[pd.DataFrame]) -> list[pd.DataFrame]:
    """What stays after each delivery, when each run notes what decided its images."""
    register: dict[str, str] = {}
    stayed = []
    for frame in deliveries:
        settled, _ = _settle(sides(frame, register))
        register = dict(zip(settled["image_id"], settled["decided_by"], strict=True)) | register
        stayed.append(settled)
    return stayed


def read_proof(run: Run, record: Split) -> pd.DataFrame:
    return pd.read_csv(
        io.BytesIO(run.fetch(record.proof)), dtype=str, keep_default_na=False, na_values=[""]
    )
