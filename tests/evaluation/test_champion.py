"""The model in use beside its successor, with real networks and a real registry."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.engine.run import Run
from tasks.engine.storage import open_store
from tasks.evaluation import evaluate as step
from tasks.evaluation.decision import judge
from tasks.evaluation.rules import Case
from tasks.intake.manifest import read_parquet, table, to_npy, to_parquet
from tasks.lesions import MELANOMA, Diagnosis
from tasks.model_file import to_bytes
from tasks.pipeline import step_named
from tasks.records.evaluated import Evaluated
from tasks.records.oversampled import Oversampled
from tasks.records.record import sha256
from tasks.records.split import Split
from tasks.records.trained import Trained, TrainedRecipe
from tasks.records.validated import Validated
from tasks.registry.champion import outside_state
from tasks.registry.model_folder import add_version
from tasks.registry.promotions import Adoption, Model, append
from tasks.registry.versions import (
    CHAMPION,
    MODEL,
    experiment_id,
    mlflow_client,
)
from tasks.training.notebook_networks import build
from tests.support.deliveries import run_of
from tests.support.judged import MELANOMA_POLICY, case_of
from tests.support.records import incomplete

pytestmark = pytest.mark.slow

TWO: tuple[Diagnosis, ...] = ("melanoma", "nevus")
PX = 32
N = 60

Crown = Callable[..., int]


def network(seed: int, classes: int = 2) -> bytes:
    """A network that has learned nothing: its answers are its seed's."""
    return to_bytes(
        build("baseline", image_size=32, classes=classes, learning_rate=0.01, seed=seed)
    )


def split_of(run: Run) -> Split:
    """60 images of 60 lesions: 20 in each part."""
    pixels = np.random.default_rng(1).integers(0, 256, (N, PX, PX, 3), np.uint8)
    shard = run.keep("shard.npy", to_npy(pixels))
    rows = [
        {
            "key": f"raw/{n}.jpg", "image_id": f"ISIC_{n:07d}", "label": TWO[n % 2],
            "pixel_hash": sha256(str(n).encode()), "lesion_id": f"L{n}", "source": "HAM10000",
            "size_bytes": 1, "width": PX, "height": PX,
            "shard": shard.key, "shard_sha256": shard.sha256, "index": n,
        }
        for n in range(N)
    ]  # fmt: skip
    side = np.repeat(["train", "validation", "test"], N // 3)
    parts = table(rows)
    parts = parts.sort_values("image_id", ignore_index=True).assign(side=side, group="")
    return incomplete(Split, parts=run.keep("parts.parquet", to_parquet(parts)))


def evaluate(run: Run, split: Split, trained: Trained) -> Evaluated:
    """Without cross-validation, which alone looks at copies."""
    none = incomplete(Validated, external=())
    return step.evaluate(run, split, trained, incomplete(Oversampled), none)


def trained_of(run: Run, seed: int) -> Trained:
    model = run.keep("baseline.keras", network(seed))
    recipe = incomplete(TrainedRecipe, recipe="baseline", model=model)
    return incomplete(Trained, classes=TWO, recipes=(recipe,))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    store = open_store(str(tmp_path_factory.mktemp("champion")))
    return replace(run_of(store, packed_size=PX), step="evaluate")


@pytest.fixture(scope="module")
def split(run: Run) -> Split:
    return split_of(run)


@pytest.fixture
def crown(run: Run) -> Crown:
    """Makes a network the champion, as register and promote do; returns its version. What the
    ledger says of it comes from the tags here."""

    def register(data: bytes, classes: tuple[str, ...] = TWO, **tags: str) -> int:
        described = {
            "run": f"{run.store.uri}/runs/earlier", "model_sha256": sha256(data),
            "threshold": "0.5", "classes": json.dumps(classes),
        }  # fmt: skip
        with mlflow_client(run.store) as client:
            made = client.create_run(experiment_id(client, run.store)).info.run_id
            version, _ = add_version(
                client, run_id=made, model=data, light=b"", description="", tags=described | tags
            )
            client.set_registered_model_alias(MODEL, CHAMPION, str(version))
        told = described | tags
        model = Model(
            version=version, run=told["run"], model_sha256=told["model_sha256"],
            threshold=float(told["threshold"]), classes=classes, evidence_sha256=None,
        )  # fmt: skip
        append(run.store, "", lambda now: Adoption(after=model, why="a test"))
        return version

    return register


def test_without_a_champion_nothing_is_compared(run: Run, split: Split) -> None:
    assert outside_state(run) == ""
    half = run.config.model_copy(update={"target_sensitivity": 0.5})
    evaluated = evaluate(replace(run, config=half), split, trained_of(run, 1))
    assert evaluated.champion is None
    assert evaluated.missed
    assert all(each.by_champion is None for each in evaluated.missed)


def test_both_models_are_counted_on_the_same_lesions(run: Run, split: Split, crown: Crown) -> None:
    version = crown(network(2))
    evaluated = evaluate(run, split, trained_of(run, 1))
    champion = evaluated.champion
    assert champion is not None
    assert (champion.version, champion.problem, champion.classes) == (version, None, TWO)
    compared = champion.comparison
    assert compared is not None
    assert compared.both_found + compared.champion_only == compared.sensitivity.successes
    own = evaluated.figures.sensitivity
    assert compared.both_found + compared.challenger_only == own.successes
    assert own.n == compared.sensitivity.n == 10
    assert len(compared.lost) == compared.champion_only
    assert champion.learned_from is None  # the champion's run is not in this store
    table = read_parquet(run, evaluated.predictions)
    found = table[(table["label"] == MELANOMA) & (table["champion_melanoma"] >= 0.5)]
    assert len(found) == compared.sensitivity.successes
    missed = {each.image_ids for each in evaluated.missed if each.by_champion is False}
    assert missed == set(compared.lost)


def test_a_model_beside_itself_differs_in_nothing(run: Run, split: Split, crown: Crown) -> None:
    trained = trained_of(run, 3)
    threshold = evaluate(run, split, trained).threshold
    crown(run.fetch(trained.recipes[0].model), threshold=repr(threshold))
    evaluated = evaluate(run, split, trained)
    assert evaluated.champion is not None
    compared = evaluated.champion.comparison
    assert compared is not None
    assert compared.champion_only == compared.challenger_only == 0
    assert compared.auc_difference.value == 0
    said = {rule.name: rule for rule in judge(MELANOMA_POLICY, case_of(evaluated, external=()))}
    assert "very model" in said["melanoma sensitivity against the champion"].reason


def test_a_champion_that_knows_more_classes_is_asked_for_melanoma(
    run: Run, split: Split, crown: Crown
) -> None:
    crown(network(2, classes=3), classes=("dermatofibroma", *TWO))
    champion = evaluate(run, split, trained_of(run, 1)).champion
    assert champion is not None
    assert champion.comparison is not None


@pytest.mark.parametrize(
    ("classes", "tags", "words"),
    [
        (("nevus", "dermatofibroma"), {}, "does not know melanoma"),
        (("melanoma", "nevus", "dermatofibroma"), {}, "2 outputs for 3 names"),
        (TWO, {"model_sha256": "0" * 64}, "not the model that was registered"),
    ],
)
def test_a_champion_that_cannot_be_asked_is_told_and_refuses(
    run: Run, split: Split, crown: Crown, classes: Any, tags: Any, words: str
) -> None:
    crown(network(2), classes=classes, **tags)
    evaluated = evaluate(run, split, trained_of(run, 1))
    assert evaluated.champion is not None
    assert words in str(evaluated.champion.problem)
    refused = {
        rule.name
        for rule in judge(MELANOMA_POLICY, case_of(evaluated, external=()))
        if rule.decision == "fail"
    }
    assert "sensitivity against champion" in refused


def test_tags_that_somebody_changed_in_mlflow_bend_no_comparison(
    run: Run, split: Split, crown: Crown
) -> None:
    version = crown(network(2))
    before = evaluate(run, split, trained_of(run, 1)).champion
    with mlflow_client(run.store) as client:
        client.set_model_version_tag(MODEL, str(version), "threshold", "high")
        client.set_model_version_tag(MODEL, str(version), "classes", "[]")
    assert evaluate(run, split, trained_of(run, 1)).champion == before


def test_what_the_champion_learned_from_is_found_in_its_own_run(
    run: Run, split: Split, crown: Crown
) -> None:
    """Its training part held five images that are in the test part now."""
    parts = read_parquet(run, split.parts)
    then = pd.concat([parts[parts["side"] == "train"], parts[parts["side"] == "test"].head(5)])
    earlier = replace(run, name="earlier", step="split")
    kept = earlier.keep("parts.parquet", to_parquet(then.assign(side="train")))
    record = Split(
        parts=kept, proof=kept, left_out=kept, counts={}, groups={}, strata=(), bridging=0
    )
    run.store.replace(earlier.key("record.json"), record.model_dump_json().encode())
    crown(network(2))
    champion = evaluate(run, split, trained_of(run, 1)).champion
    assert champion is not None
    assert champion.learned_from == 5


def test_another_champion_is_another_state_of_the_world(run: Run, crown: Crown) -> None:
    assert "registry.champion" in step_named("evaluate").outside
    crown(network(2))
    before = outside_state(run)
    crown(network(4))
    assert outside_state(run) != before


def test_the_record_survives_json(run: Run, split: Split, crown: Crown, tmp_path: Path) -> None:
    crown(network(2))
    evaluated = evaluate(run, split, trained_of(run, 1))
    assert Evaluated.model_validate_json(evaluated.model_dump_json()) == evaluated
    case = Case(evaluated, 0, True, 0, False)
    assert judge(MELANOMA_POLICY, case) == judge(MELANOMA_POLICY, case_of(evaluated, external=()))
