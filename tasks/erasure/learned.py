"""Which runs used an erased image, and what became of their models."""

from tasks.engine.erasures import Learned
from tasks.engine.run import read_record
from tasks.engine.store import Store
from tasks.erasure.scope import Scope, read_columns
from tasks.errors import BadInput
from tasks.records.evaluated import Evaluated
from tasks.records.registered import Registered
from tasks.records.split import Split
from tasks.records.verdict import Verdict


def learned_from(store: Store, scope: Scope) -> tuple[Learned, ...]:
    """The runs whose split holds an image, with the images in each part and the model."""
    return tuple(each for run in scope.runs if (each := _of_run(store, scope, run)))


def _of_run(store: Store, scope: Scope, run: str) -> Learned | None:
    try:
        split = read_record(store, run, "split")
        if not isinstance(split, Split):
            return None
        parts = read_columns(store.read(split.parts.key), ("image_id", "side"))
        registered, evaluated = (read_record(store, run, step) for step in ("register", "evaluate"))
    except BadInput:  # of another version of the program, or gone
        return Learned(run=run, sides={}, version=None)
    own = parts[parts["image_id"].isin(list(scope.images))].drop_duplicates("image_id")
    if own.empty:
        return None
    return Learned(
        run=run,
        sides={str(side): int(count) for side, count in own["side"].value_counts().items()},
        version=registered.version if isinstance(registered, Registered) else None,
        recipe=evaluated.recipe if isinstance(evaluated, Evaluated) else "",
    )


def is_finished(store: Store, run: str) -> bool:
    """Whether no step of a run is left to do: it was registered, or the gate refused it."""
    try:
        if isinstance(read_record(store, run, "register"), Registered):
            return True
        verdict = read_record(store, run, "gate")
    except BadInput:  # of another version of the program, which does not go on with it
        return True
    return isinstance(verdict, Verdict) and verdict.decision != "pass"
