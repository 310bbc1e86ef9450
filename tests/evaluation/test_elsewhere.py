"""What a model can be judged on of an external set: each image counts, or is told why not."""

from typing import Any

import pandas as pd
import pytest

from tasks.evaluation.elsewhere import drops, with_labels
from tasks.evaluation.external_cases import area_of
from tasks.evaluation.scoring import figures
from tasks.intake.manifest import table
from tasks.lesions import OTHER, Code
from tests.support.judged import figures_of, predictions

CLASSES: Any = ("melanoma", "nevus")


def rows(*cells: tuple[str, str | None, tuple[Code, ...] | None]) -> pd.DataFrame:
    """Rows of a set: folder, label by ingest, and what tables say."""
    return table(
        [
            {
                "key": f"external/b/{folder}/{n}.jpg",
                "size_bytes": 1,
                "image_id": f"i{n}",
                "folder": folder,
                "label": label,
                "archive_diagnosis": codes,
            }
            for n, (folder, label, codes) in enumerate(cells)
        ]
    )


def test_binary_and_coarse_labels_and_unknown_classes_count_where_they_can() -> None:
    made, left = with_labels(
        rows(
            ("melanoma", "melanoma", None),
            ("images", None, (Code("labels", ("benign",)),)),
            ("benign", None, None),
            ("images", None, (Code("HAM10000", ("bkl",)),)),
            ("vascular lesion", "vascular lesion", None),
        ),
        {},
        CLASSES,
    )
    labels = made.set_index("image_id")["label"].to_dict()
    assert labels == {"i0": "melanoma"} | dict.fromkeys(("i1", "i2", "i3", "i4"), OTHER)
    assert left == {}


def test_a_copied_melanoma_is_found_once() -> None:
    made = rows(*[("melanoma", "melanoma", None)] * 30, ("melanoma", "melanoma", None))
    made["pixel_hash"] = ["same"] * 30 + ["other"]
    counted, left = with_labels(made, {}, CLASSES)
    assert (counted["lesion_id"].nunique(), len(counted), left) == (2, 31, {})


def test_one_picture_under_two_labels_counts_under_none() -> None:
    made = rows(("melanoma", "melanoma", None), ("nevus", "nevus", None), ("nevus", "nevus", None))
    made["pixel_hash"] = ["same", "same", "other"]
    counted, left = with_labels(made, {}, CLASSES)
    assert list(counted["label"]) == ["nevus"]
    assert sum(left.values()) == 2


@pytest.mark.parametrize("folder", ["NotMelanoma", "benign"])
def test_a_row_that_its_folder_rules_out_counts_for_nothing(folder: str) -> None:
    mel = (Code("labels", ("melanoma",)),)
    counted, left = with_labels(rows((folder, "melanoma", mel)), {}, CLASSES)
    assert counted.empty
    assert "rules out" in next(iter(left))
    agreeing, none = with_labels(rows((folder, None, None)), {}, CLASSES)
    assert (list(agreeing["label"]), none) == ([OTHER], {})


def test_what_does_not_count_is_told_with_the_reason() -> None:
    made, left = with_labels(
        rows(
            ("nevus", "nevus", None),
            ("images", None, (Code("labels", ("malignant",)),)),
            ("images", None, None),
        ),
        {},
        CLASSES,
    )
    assert list(made["image_id"]) == ["i0"]
    assert sum(left.values()) == 2
    assert any("malignant" in why for why in left)


def test_a_person_may_say_what_a_coarse_code_stands_for() -> None:
    cells = ("images", None, (Code("labels", ("malignant",)),))
    made, left = with_labels(rows(cells), {"malignant": "melanoma"}, CLASSES)
    assert (list(made["label"]), left) == (["melanoma"], {})


def test_a_drop_is_the_own_figure_minus_that_elsewhere() -> None:
    own, there = figures_of(96, 100, 280, 300), figures_of(66, 100, 280, 300)
    sensitivity, area = drops(own, there)
    assert sensitivity.value == pytest.approx(0.30)
    assert sensitivity.lower is not None
    assert sensitivity.lower > 0.15
    assert area.value == pytest.approx((own.auc.value or 0) - (there.auc.value or 0))
    assert drops(own, None)[0].value is None


def test_the_area_has_the_interval_of_the_confidence_that_is_left() -> None:
    made = predictions(80, 100, 250, 300)
    narrow, wide = (area_of(made, CLASSES, sure) for sure in (0.95, 0.999))
    assert narrow.value == wide.value == figures(made, CLASSES, 0.5, {}).auc.value
    assert wide.lower is not None
    assert narrow.lower is not None
    assert wide.lower < narrow.lower
