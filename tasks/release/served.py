"""Check that MLflow serves the model that the evidence of a run is about."""

from typing import Any

from tasks.engine.run import Run
from tasks.errors import Corrupt, NotFound
from tasks.records.evaluated import Evaluated
from tasks.records.record import sha256
from tasks.records.registered import Registered
from tasks.records.split import Split
from tasks.registry.served import Golden, check_served
from tasks.release.evidence import FIRST, FOLDER, SECOND, Bundle
from tasks.release.golden import LEAST, golden_among, golden_from


def check_served_as_judged(client: Any, run: Run, registered: Registered) -> str:
    """Compare the version that a run registered, as MLflow serves it, with the run's evidence.

    See `tasks.registry.served.check_served`. The bundle must have been verified before.

    Args:
        client: MLflow's client.
        run: The run that registered the version.
        registered: The run's record of it.

    Returns:
        What was checked, in words.

    Raises:
        Corrupt: MLflow serves something else, or the bundle is not the one that was registered.
        BadInput: MLflow does not hold the version.
        Momentary: MLflow failed, or the machine did not let the model answer.
    """
    bundle = Bundle(f"{run.uri}/{FOLDER}")
    if sha256(bundle.manifest_data) != registered.evidence.sha256:
        raise Corrupt(
            "The evidence is not the bundle with which the model was registered.",
            expected=f"a manifest with SHA-256 {registered.evidence.sha256}",
            received=sha256(bundle.manifest_data),
            do=f"find out who changed {bundle.uri}",
        )
    golden, remark = golden_of(bundle, run)
    return f"{check_served(client, registered, golden)}{remark}"


def golden_of(bundle: Bundle, run: Run) -> tuple[Golden | None, str]:
    """The golden images of a bundle, and a remark where they are not its own.

    Bundles of earlier formats hold none. Theirs are made of the pixels that the run's store still
    holds, whose hashes the bundle names. Without the pixels there are none.
    """
    if bundle.manifest.format not in (FIRST, SECOND):
        return _own(bundle)
    split, evaluated = bundle.record("split"), bundle.record("evaluate")
    assert isinstance(split, Split)
    assert isinstance(evaluated, Evaluated)
    parts = bundle.table("split", split.parts)
    predictions = bundle.table("evaluate", evaluated.predictions)
    old = "the evidence, of an earlier version of the program, holds no golden images"
    try:
        golden, _ = golden_among(run, parts, predictions, evaluated)
    except NotFound:
        return None, f"; {old}, and the pixels of the run are gone: the model was asked nothing"
    return golden, f"; {old}: these are made of the run's pixels"


def _own(bundle: Bundle) -> tuple[Golden | None, str]:
    """The golden images of a bundle, and a remark if some were erased."""
    golden, _ = golden_from(bundle.read)
    left = len(golden.image_ids)
    if not bundle.erased or left >= LEAST:
        return golden, ""
    if not left:
        return None, "; all golden images were erased: the model was asked nothing"
    return golden, f"; some were erased, and {left} are fewer than the {LEAST} of a new bundle"
