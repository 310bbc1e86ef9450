"""A label counts for what it says: for melanoma or not, for a class, or for nothing."""

from itertools import permutations

import pytest

from tasks.intake.truths import Kind, truth_of, truths_of
from tasks.lesions import DIAGNOSES, MELANOMA, OTHER, Code, Diagnosis, Meaning

FEWER: tuple[Diagnosis, ...] = ("basal cell carcinoma", "melanoma", "nevus")


def codes(*said: str) -> tuple[Code, ...]:
    """Each as ``archive=term``, or a term of a table of one's own."""
    split = [each.rpartition("=") for each in said]
    return tuple(Code(archive or "labels", (term,)) for archive, _, term in split)


@pytest.mark.parametrize(
    ("said", "counted", "kind"),
    [
        (["Melanoma"], MELANOMA, "class"),
        (["HAM10000=nv"], "nevus", "class"),
        (["not melanoma"], OTHER, "not melanoma"),
        (["benign"], OTHER, "not melanoma"),
        (["HAM10000=bkl"], OTHER, "not melanoma"),
        (["solar lentigo"], OTHER, "not melanoma"),
        (["non-melanoma skin cancer"], OTHER, "not melanoma"),
        (["malignant"], None, "undecided"),
        (["melanocytic"], None, "undecided"),
        (["malignant", "melanoma"], MELANOMA, "class"),
        (["malignant", "not melanoma"], OTHER, "not melanoma"),
        (["benign", "solar lentigo"], OTHER, "not melanoma"),
        (["nevus", "melanoma"], None, "contradiction"),
        (["benign", "melanoma"], None, "contradiction"),
        (["solar lentigo", "melanoma"], None, "contradiction"),
        (["HAM10000=akiec", "ISIC 2019=AK"], "actinic keratosis", "class"),
        (["pumpkin"], None, "not understood"),
        (["melanoma?"], None, "not understood"),
        (["pumpkin", "nevus"], "nevus", "class"),
        (["ISIC 2019=UNK"], None, "silent"),
        ([], None, "silent"),
    ],
)
def test_a_label_counts_for_what_it_says_and_for_no_more(
    said: list[str], counted: Meaning | None, kind: Kind
) -> None:
    for order in permutations(said):
        found = truth_of(codes(*order))
        assert (found.counted, found.kind) == (counted, kind)
        assert found.melanoma is (None if counted is None else counted == MELANOMA)
        assert bool(found.why) is (kind != "class")
        assert set(found.codes) <= {each.rpartition("=")[2] for each in said}


def test_a_class_that_the_model_does_not_know_is_not_melanoma_for_that_model_only() -> None:
    keratosis = codes("seborrheic keratosis")
    assert truth_of(keratosis).label == "seborrheic keratosis"
    found = truth_of(keratosis, classes=FEWER)
    assert (found.counted, found.label, found.melanoma) == (OTHER, None, False)
    assert found.why == "the model does not know seborrheic keratosis"
    assert truth_of(codes("nevus"), classes=FEWER).label == "nevus"


@pytest.mark.parametrize(
    ("said", "coarse", "counted", "kind"),
    [
        (["malignant"], {"Malignant": MELANOMA}, MELANOMA, "class"),
        (["HAM10000=bkl"], {"bkl": "seborrheic keratosis"}, "seborrheic keratosis", "class"),
        (["M17"], {"m17": "nevus"}, "nevus", "class"),
        (["M17"], {"M18": "nevus"}, None, "not understood"),
        (["HAM10000=bkl"], {"bkl": MELANOMA}, None, "contradiction"),
        (["malignant", "not melanoma"], {"malignant": MELANOMA}, None, "contradiction"),
        (["M17", "melanoma"], {"M17": "nevus"}, None, "contradiction"),
        (["nevus"], {"nevus": MELANOMA}, "nevus", "class"),
        (["HAM10000=bkl", "pigmented benign keratosis"], {"bkl": "seborrheic keratosis"},
         "pigmented benign keratosis", "class"),
        (["ISIC 2019=UNK"], {"UNK": "nevus"}, None, "silent"),
    ],
)  # fmt: skip
def test_a_person_names_the_class_of_what_is_open_and_overrules_nothing(
    said: list[str], coarse: dict[str, Diagnosis], counted: Meaning | None, kind: Kind
) -> None:
    found = truth_of(codes(*said), coarse)
    assert (found.counted, found.kind) == (counted, kind)


def test_each_of_the_nine_is_its_own_truth() -> None:
    for name in DIAGNOSES:
        assert truth_of(codes(name)).counted == name


def test_the_images_of_a_lesion_say_one_thing_together_and_strangers_do_not() -> None:
    said = [codes("nevus"), codes("melanoma"), codes("HAM10000=bkl"),
            codes("seborrheic keratosis"), (), codes("malignant"), codes("melanoma")]  # fmt: skip
    one = truths_of(said, ["a", "a", "b", "b", "b", "c", "c"])
    assert [each.kind for each in one[:2]] == ["contradiction", "contradiction"]
    assert [each.label for each in one[2:5]] == ["seborrheic keratosis"] * 2 + [None]
    assert [each.counted for each in one[4:]] == [None, MELANOMA, MELANOMA]
    apart = truths_of(said, [None] * 7)
    assert apart == [truth_of(each) for each in said]
    assert [each.counted for each in apart[:3]] == ["nevus", MELANOMA, OTHER]
