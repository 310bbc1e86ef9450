"""The law of shortcuts: nothing beside the lesion tells melanoma from the rest."""

import pandas as pd

from tasks.figures import down, up
from tasks.intake.acquisition import acquisitions_of
from tasks.intake.surroundings import figures_of
from tasks.lesions import MELANOMA
from tasks.records.figures import Estimate
from tasks.records.shortcuts import Beside
from tasks.splitting.groups import groups_of
from tasks.validation.laws.law import Breach, Delivered, LawRow
from tasks.validation.shortcuts import FEWEST, SOURCE, beside_of


def shortcut(delivered: Delivered) -> Breach:
    """The things beside the lesion, and the sources, that tell melanoma from the rest."""
    frame, measured = delivered.frame, delivered.measured
    nothing = pd.Series(dtype="str")
    if measured is None:
        return Breach(nothing, remark="not asked: no pixels were measured")
    frame = frame[frame["key"].isin(measured.index)].reset_index(drop=True)
    figures = figures_of(frame, measured.loc[frame["key"]].reset_index(drop=True))
    beside = beside_of(
        figures.assign(**{SOURCE: acquisitions_of(frame)}),
        (frame["label"] == MELANOMA).to_numpy(bool),
        groups_of(frame),
    )
    if beside is None:
        few = f"not asked: fewer than {FEWEST} melanoma lesions, or than {FEWEST} others"
        return Breach(nothing, remark=few)
    return Breach(nothing, counted=_counted(beside), remark=_in_words(beside), beside=beside)


def _counted(beside: Beside) -> list[str]:
    things = [
        f"{each.about}: {_area(each.auc)}{f', most by: {each.most}' if each.most else ''}"
        for each in beside.things
        if each.shortcut
    ]
    sources = [
        f"from {each.source}: {each.melanomas} of {each.lesions} lesions are melanomas; "
        f"{_area(each.auc)}"
        for each in beside.sources
        if each.shortcut
    ]
    return things + sources


def _in_words(beside: Beside) -> str:
    first = beside.things[0]
    return (
        f"{beside.melanomas} melanoma lesions and {beside.others} others, scored without sight of "
        f"the lesion: {_area(beside.everything.auc)}; what tells most is the {first.about}, "
        f"{_area(first.auc)}; 0.5 is chance"
    )


def _area(area: Estimate) -> str:
    if area.value is None or area.lower is None or area.upper is None:
        return "AUC not known"
    return f"AUC {area.value:.3f} ({down(area.lower)} to {up(area.upper)})"


SHORTCUT = LawRow(
    "shortcut",
    "Nothing beside the lesion tells melanoma from the rest: not the source, the file, the "
    "dimensions, the border. Counts what does, with a lower bound of its area under the ROC curve "
    "of 0.75 or more.",
    severity="warning",
    consequence="kept; a network may learn this instead of the lesion, and then fails on images "
    "from elsewhere: believe figures within one source and on external sets, and deliver the same "
    "sources for melanomas and others",
    check=shortcut,
    on_accepted=True,
)
