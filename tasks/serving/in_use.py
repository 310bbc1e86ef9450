"""Load a version of MLflow to answer with: the light form that was registered, and its facts.

Nothing that MLflow says is believed. The signed record of the run that registered the version names
the SHA-256 of every file, the sealed evidence names classes and threshold, and the golden images
say whether the loaded model answers as when it was judged.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tasks.config import Retraining
from tasks.engine.run import Run, open_run
from tasks.errors import BadInput, Corrupt
from tasks.evaluation.answerable import Answerable
from tasks.lesions import Diagnosis
from tasks.recipes import recipe_now
from tasks.records.evaluated import Evaluated
from tasks.records.figures import Figures, Proportion
from tasks.records.ingested import Ingested
from tasks.records.record import sha256
from tasks.records.registered import Registered
from tasks.records.split import Split
from tasks.records.trained import Trained
from tasks.registry.light_form import LIGHT
from tasks.registry.light_model import LightModel, cores
from tasks.registry.served import compared
from tasks.registry.versions import MODEL, Version, downloaded
from tasks.release.evidence import FOLDER, Bundle
from tasks.release.served import golden_of
from tasks.serving.answer import Counted, Judged, ModelFacts, PredictiveValue
from tasks.statistics.proportions import predictive_value

Standing = Literal["champion", "challenger"]


@dataclass(frozen=True)
class Loaded:
    """A version, ready to answer.

    Attributes:
        alone: The model for one image, on one thread, so that questions do not wait for each other.
        together: The same model for a batch, on all cores.
        judge: Says which images the model cannot judge; None: the run had too few images to fit
            one, or was made by an earlier version of the program.
        classes: Class of each output.
        facts: What people are told of the model.
        checked: What was checked of the loaded model, in words.
    """

    alone: LightModel
    together: LightModel
    judge: Answerable | None
    classes: tuple[Diagnosis, ...]
    facts: ModelFacts
    checked: str

    @property
    def side(self) -> int:
        """Side of the packed squares that the model takes, in pixels."""
        return self.alone.side


def load(client: Any, version: Version, standing: Standing, prevalence: float | None) -> Loaded:
    """Load a version and check it.

    Args:
        client: MLflow's client.
        version: The version, as the ledger or the records of its run describe it.
        standing: Whether the version is in use.
        prevalence: Share of melanomas among the lesions of this clinic, 0 to 1; None: not stated.

    Raises:
        Corrupt: A file, the evidence or an answer is not that of the model that was judged; or an
            earlier version of the program registered the version, without a light form.
        BadInput: MLflow no longer holds the version.
        Momentary: MLflow or the store failed.
    """
    what = f"Version {version.number} of {MODEL}"
    run = open_run(version.run, Retraining())
    registered, bundle = _vouched(run, version, what)
    data = _light_form(client, registered, version, what)
    alone, together = LightModel(data, what), LightModel(data, what, threads=cores())
    evaluated = bundle.record("evaluate")
    assert isinstance(evaluated, Evaluated)
    golden, remark = golden_of(bundle, run)
    checked = "no golden image is left to ask about"
    if golden is not None:
        checked = compared(together.answers(golden.pixels), golden, what)
    return Loaded(
        alone=alone,
        together=together,
        judge=_judge(bundle, evaluated),
        classes=evaluated.classes,
        facts=_facts(bundle, evaluated, version, standing, prevalence),
        checked=f"{checked}{remark}",
    )


def _vouched(run: Run, version: Version, what: str) -> tuple[Registered, Bundle]:
    """The record that vouches for a version, and the evidence that the record names."""
    registered = run.record("register")
    if not isinstance(registered, Registered) or (registered.version, registered.model_sha256) != (
        version.number,
        version.model_sha256,
    ):
        said = registered and f"a record of {registered.content_hash[:12]}, of another version"
        raise Corrupt(
            f"{what} is not vouched for.",
            expected=f"the record of register in {run.uri}, of this very model",
            received=said or "no such record",
            do="restore the store from a backup, or promote another version",
        )
    bundle = Bundle(f"{run.uri}/{FOLDER}")
    named = version.evidence_sha256 or registered.evidence.sha256
    if not sha256(bundle.manifest_data) == named == registered.evidence.sha256:
        raise Corrupt(
            f"{what}: the evidence is not the bundle with which the model was registered.",
            expected=f"a manifest with SHA-256 {named}",
            received=sha256(bundle.manifest_data),
            do=f"find out who changed {bundle.uri}",
        )
    return registered, bundle


def _light_form(client: Any, registered: Registered, version: Version, what: str) -> bytes:
    named = registered.files.get(LIGHT)
    if named is None:
        raise BadInput(
            f"{what} has no light form, which the app answers with.",
            expected=f"{LIGHT} among the files that register wrote",
            received=f"{len(registered.files)} other files, of an earlier version of the program",
            do="run a retraining, and promote the version that it registers",
        )
    with tempfile.TemporaryDirectory() as folder:
        source = client.get_model_version_download_uri(MODEL, str(version.number))
        data = downloaded(f"{source}/{LIGHT}", Path(folder), what).read_bytes()
    if sha256(data) != named:
        raise Corrupt(
            f"{what} is not the model that was registered.",
            expected=f"{LIGHT} with SHA-256 {named}",
            received=sha256(data),
            do="find out who changed MLflow's artifact",
        )
    return data


def _judge(bundle: Bundle, evaluated: Evaluated) -> Answerable | None:
    if evaluated.refusals is None:
        return None
    return Answerable.from_bytes(bundle.file_of("evaluate", evaluated.refusals.judge))


def _facts(
    bundle: Bundle,
    evaluated: Evaluated,
    version: Version,
    standing: Standing,
    prevalence: float | None,
) -> ModelFacts:
    ingested, split, trained = (bundle.record(name) for name in ("ingest", "split", "train"))
    assert isinstance(ingested, Ingested)
    assert isinstance(split, Split)
    assert isinstance(trained, Trained)
    sides = bundle.table("split", split.parts)["side"]
    ended = trained.provenance
    return ModelFacts(
        version=version.number,
        standing=standing,
        sha256=version.model_sha256,
        recipe=recipe_now(evaluated.recipe),
        trained=ended.committed_at if ended else "",
        images=int((sides == "train").sum()),
        run=version.run.rpartition("/")[2],
        synthetic=ingested.synthetic,
        threshold=evaluated.threshold,
        judged=tuple(_judged(evaluated)),
        predictive_value=_predictive_value(evaluated.figures, prevalence),
    )


def _judged(evaluated: Evaluated) -> list[Judged]:
    """The headline figures of the own test part, then those of each external set with images."""
    own = evaluated.figures.headline
    given_up = (
        {each.name: each for each in evaluated.refusals.lesions} if evaluated.refusals else {}
    )
    sets = [("", own.sensitivity, own.specificity)]
    sets += [
        (each.name, each.figures.sensitivity, each.figures.specificity)
        for each in evaluated.external
        if each.figures
    ]
    return [
        Judged(
            where=name,
            found=_counted(found),
            cleared=_counted(cleared),
            refused=_counted(given_up[name].refused) if name in given_up else None,
            melanomas_refused=(
                _counted(given_up[name].melanomas_refused) if name in given_up else None
            ),
        )
        for name, found, cleared in sets
    ]


def _counted(share: Proportion) -> Counted:
    return Counted(successes=share.successes, n=share.n, lower=share.lower, upper=share.upper)


def _predictive_value(figures: Figures, prevalence: float | None) -> PredictiveValue | None:
    if prevalence is None:
        return None
    own = figures.headline
    found = predictive_value(own.sensitivity, own.specificity, prevalence)
    if found.value is None or found.lower is None or found.upper is None:
        return None
    return PredictiveValue(
        prevalence=prevalence, value=found.value, lower=found.lower, upper=found.upper
    )
