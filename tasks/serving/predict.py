"""predict: the champion's answers about a folder of images, as a table."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from tasks.engine.spreadsheet import to_csv
from tasks.engine.store import Store
from tasks.errors import BadInput
from tasks.intake.folder import PlainFile, files_in
from tasks.lesions import is_image
from tasks.serving.answering import Answered, answered_together
from tasks.serving.follow import Follower
from tasks.serving.in_use import Loaded

AT_ONCE = 64  # files in memory
WORDS = ("file", "decision", "version", "threshold", "problem")

Row = dict[str, Any]


def predict(
    store: Store,
    folder: Path,
    output: Path,
    *,
    megapixels: int,
    watch: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, int]:
    """Ask the champion about each image of a folder, each of another lesion, and write a CSV.

    Args:
        store: The store whose ledger of promotions names the champion.
        folder: A folder of images, at any depth.
        output: A new file.
        megapixels: Larger images are not decoded.
        watch: Called with the number of files that are done, and of all.

    Returns:
        How many files got each decision, and how many have a problem instead.

    Raises:
        BadInput: No model is in use, the folder holds no image, or the table cannot be written.
        Corrupt: The registry holds another model than was promoted.
        Momentary: A file changed since the folder was listed; or MLflow failed.
    """
    _check_place(output)
    files = [file for file in files_in(folder, "images") if is_image(file.within)]
    if not files:
        raise BadInput(
            "There is nothing to answer about.",
            expected="images in the folder, at any depth",
            received=f"no image in {str(folder)!a}",
            do="correct the folder",
        )
    model = champion_of(store)
    rows = list[Row]()
    for part in _in_turn(files):
        rows += _answers(model, part, megapixels)
        watch(len(rows), len(files))
    order = [*WORDS[:2], *model.classes, *WORDS[2:]]
    table = pd.DataFrame(rows).reindex(columns=order)
    try:
        with output.open("xb") as file:
            file.write(to_csv(table))
    except OSError as error:
        raise _not_written(output, str(error.strerror)) from error
    return {str(name): int(n) for name, n in table["decision"].value_counts().items()}


def champion_of(store: Store) -> Loaded:
    """The model in use, loaded and checked. Raises `BadInput` if there is none."""
    follower = Follower(store)
    follower.look()
    if follower.now.champion is None:
        raise BadInput(
            "There is no model to ask.",
            expected="a champion, which ledger and MLflow name alike",
            received=follower.now.problem or "no model is in use yet",
            do="promote a model (`python -m tasks decide`), or mend what is wrong",
        )
    return follower.now.champion


def _in_turn(files: list[PlainFile]) -> Iterator[list[PlainFile]]:
    return (files[start : start + AT_ONCE] for start in range(0, len(files), AT_ONCE))


def _answers(model: Loaded, files: list[PlainFile], megapixels: int) -> list[Row]:
    contents = [file.read() for file in files]
    answers = answered_together(model, contents, megapixels)
    facts = {"version": model.facts.version, "threshold": model.facts.threshold}
    rows = list[Row]()
    for file, each in zip(files, answers, strict=True):
        if isinstance(each, Answered):
            answer = each.answer
            grounds = "; ".join(f"{one.ground}: {one.measured}" for one in answer.refused)
            said = {"decision": answer.decision, "problem": grounds or None}
            rows.append({"file": file.within} | facts | said | answer.probabilities)
        else:
            said = {"decision": "not read", "problem": each.received}
            rows.append({"file": file.within} | facts | said)
    return rows


def _check_place(output: Path) -> None:
    """Raise `BadInput` now if the table could not be written there after all answers."""
    if output.exists():
        raise _not_written(output, "there is such a file")
    if not output.parent.is_dir():
        raise _not_written(output, "there is no such folder")


def _not_written(output: Path, why: str) -> BadInput:
    return BadInput(
        "The table cannot be written.",
        expected="the path of a new file in a folder that may be written",
        received=f"{why}: {str(output)!a}",
        do="correct --output",
    )
