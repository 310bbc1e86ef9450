"""What the labels of an image say about it, as far as a model can be judged by them.

Sets from elsewhere call lesions by words of their own: a diagnosis of the nine, a coarser one, one
outside the nine, or only "benign". A model is asked two things: is it melanoma, and which class is
it. A label may answer the first and not the second. This module promises:

- `truth_of` is pure: it depends on the codes of one image or lesion, in any order, and on nothing
  else. It guesses nothing: what the codes leave open stays open, with the reason in words.
- What cannot be melanoma counts as not melanoma, also where the class is not known: ``bkl``,
  ``benign``, a cyst, a class that the model was never taught.
- What may or may not be melanoma, such as ``malignant``, counts for nothing until a person says
  which class it is.
- Codes that exclude each other count for nothing: none is believed against another. So do those of
  two images of one lesion, see `truths_of`.
- `Truth.counted` is the value of the column ``label`` by which `tasks.evaluation.scoring` counts:
  a class; `OTHER` for what is not melanoma and of no class of the model; None for what does not
  count.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tasks.lesions import DIAGNOSES, MELANOMA, OTHER, Code, Diagnosis, Meaning
from tasks.terms import in_order, is_understood, meanings

# class: one of the model's classes. not melanoma: of no class of the model, or of a coarser word.
# undecided: may be melanoma or not. contradiction: the codes exclude each other. not understood: a
# code that is not known. silent: no code, or one by which an archive says that it does not know.
Kind = Literal[
    "class", "not melanoma", "undecided", "contradiction", "not understood", "silent"
]  # fmt: skip


@dataclass(frozen=True)
class Truth:
    """What the labels of an image say.

    Attributes:
        melanoma: Whether it is melanoma; None if that is not known.
        label: Its class, one of the model's; None if it has none, or if the class is not known.
        kind: How the codes were taken.
        why: Why there is no class, in words; empty where there is one.
        codes: The codes that decided `kind`, as people write them in `--coarse`.
    """

    melanoma: bool | None
    label: Diagnosis | None
    kind: Kind
    why: str = ""
    codes: tuple[str, ...] = ()

    @property
    def counted(self) -> Meaning | None:
        """The value of the column ``label`` of predictions; None for what does not count."""
        return (
            None if self.melanoma is None else self.label or (MELANOMA if self.melanoma else OTHER)
        )


def truth_of(
    told: tuple[Code, ...],
    coarse: Mapping[str, Diagnosis] | None = None,
    classes: tuple[Diagnosis, ...] = DIAGNOSES,
) -> Truth:
    """What codes say about an image, or about a lesion if they are those of all its images.

    Args:
        told: As in the manifest's ``archive_diagnosis``.
        coarse: The class that a person takes for each code, in any case: of a code that is coarser
            than a class, or is not understood. An exact code needs none, and is not overruled.
        classes: The classes that the model knows.

    >>> truth_of((Code("HAM10000", ("mel",)),)).counted
    'melanoma'
    >>> truth_of((Code("HAM10000", ("bkl",)),))  # doctest: +NORMALIZE_WHITESPACE
    Truth(melanoma=False, label=None, kind='not melanoma', why='bkl may be pigmented benign
        keratosis or seborrheic keratosis', codes=('bkl',))
    >>> truth_of((Code("labels", ("malignant",)),)).kind
    'undecided'
    >>> truth_of((Code("labels", ("malignant",)),), {"malignant": "melanoma"}).counted
    'melanoma'
    >>> truth_of((Code("labels", ("nevus",)), Code("labels", ("melanoma",)))).kind
    'contradiction'
    """
    chosen = {code.casefold(): name for code, name in (coarse or {}).items()}
    means = {code: _means(code, chosen) for code in told}
    spoken = {code: each for code, each in means.items() if each}
    if not spoken:
        return _unspoken(told)
    left = set.intersection(*(set(each) for each in spoken.values()))
    texts = tuple(dict.fromkeys(code.text for code in spoken))
    if not left:
        return Truth(
            None, None, "contradiction", f"{' and '.join(texts)} exclude each other", texts
        )
    if len(left) > 1:
        named = [chosen[text.casefold()] for text in texts if text.casefold() in chosen]
        if named and not left & {*named}:
            why = f"{' and '.join(texts)} cannot be {named[0]}, as --coarse says"
            return Truth(None, None, "contradiction", why, texts)
        left = left & {*named} or left
    return _counted(in_order(left), texts, classes)


def truths_of(
    told: Sequence[tuple[Code, ...]],
    lesions: Sequence[str | None],
    coarse: Mapping[str, Diagnosis] | None = None,
    classes: tuple[Diagnosis, ...] = DIAGNOSES,
) -> list[Truth]:
    """What the codes of each image say, beside those of the other images of its lesion.

    One lesion has one diagnosis: ``bkl`` of one image and ``seborrheic keratosis`` of another make
    both a seborrheic keratosis, and ``nevus`` beside ``melanoma`` makes neither count. An image
    whose own codes say nothing stays without a truth.

    Args:
        told: The codes of each image.
        lesions: The lesion of each image; None where it is not known.
        coarse, classes: As for `truth_of`.
    """
    of_lesion: dict[str, tuple[Code, ...]] = {}
    for codes, lesion in zip(told, lesions, strict=True):
        if lesion is not None:
            of_lesion[lesion] = (*of_lesion.get(lesion, ()), *codes)
    found = []
    for codes, lesion in zip(told, lesions, strict=True):
        own = truth_of(codes, coarse, classes)
        speaks = lesion is not None and own.kind not in ("silent", "not understood")
        together = tuple(dict.fromkeys(of_lesion[lesion])) if speaks and lesion else codes
        found.append(own if together == codes else truth_of(together, coarse, classes))
    return found


def _means(code: Code, chosen: Mapping[str, Diagnosis]) -> tuple[Meaning, ...] | None:
    """What a code may mean, `OTHER` alone for a code outside the nine; None if it says nothing."""
    meant = meanings(code)
    if meant is None:
        named = None if _is_silent(code) else chosen.get(code.text.casefold())
        return (named,) if named else None
    return meant or (OTHER,)


def _is_silent(code: Code) -> bool:
    """Whether an archive says by this code that it does not know."""
    return meanings(code) is None and is_understood(code)


def _unspoken(told: tuple[Code, ...]) -> Truth:
    unknown = tuple(dict.fromkeys(code.text for code in told if not is_understood(code)))
    if unknown:
        return Truth(
            None,
            None,
            "not understood",
            f"{', '.join(unknown)} is no diagnosis known here",
            unknown,
        )
    return Truth(None, None, "silent", "neither a row nor a folder names its diagnosis")


def _counted(
    left: tuple[Meaning, ...], texts: tuple[str, ...], classes: tuple[Diagnosis, ...]
) -> Truth:
    words = " and ".join(texts)
    if len(left) > 1:
        why = f"{words} may be {' or '.join(left)}"
        if MELANOMA in left:
            return Truth(None, None, "undecided", why, texts)
        return Truth(False, None, "not melanoma", why, texts)
    (only,) = left
    if only == OTHER:
        return Truth(False, None, "not melanoma", f"{words} is none of the nine classes", texts)
    if only not in classes:
        why = f"the model does not know {only}"
        return Truth(only == MELANOMA, None, "not melanoma", why, texts)
    return Truth(only == MELANOMA, only, "class", "", texts)
