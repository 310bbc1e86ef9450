"""A new challenger beside the one that waits, with real networks and a real registry."""

from pathlib import Path
from typing import Any

import pytest

from tasks.engine.directory import DirectoryStore
from tasks.engine.run import Run
from tasks.engine.store import Store
from tasks.errors import Corrupt
from tasks.pipeline import step_named
from tasks.records.evaluated import Evaluated
from tasks.records.figures import Estimate
from tasks.records.registered import Registered
from tasks.registry.challenger import outside_state, standing_challenger
from tasks.registry.champion import alias_of
from tasks.registry.versions import CHALLENGER, MODEL, mlflow_client
from tasks.release.checks.figures import the_ranking_follows_from_the_predictions
from tasks.release.decide import decide
from tasks.release.evidence import Bundle
from tasks.release.question import ask
from tasks.release.register import become_challenger
from tests.support.approvals import NOBODY, PHYSICIAN, promoted
from tests.support.bundles import reseal

pytestmark = pytest.mark.slow


@pytest.fixture
def store(store_of_two: DirectoryStore) -> DirectoryStore:
    return store_of_two


def beside(evaluated: Evaluated, **ranking: Any) -> Evaluated:
    """An evaluation that tells otherwise how the standing challenger did."""
    assert evaluated.standing
    assert evaluated.standing.ranking
    other = evaluated.standing.ranking.model_copy(update=ranking)
    return evaluated.model_copy(
        update={"standing": evaluated.standing.model_copy(update={"ranking": other})}
    )


def difference(value: float | None) -> Estimate:
    return Estimate(value=value, lower=None, upper=None, n=20, method="DeLong, paired")


def aliased(store: Store, alias: str = CHALLENGER) -> int | None:
    with mlflow_client(store) as client:
        return alias_of(client, alias)


def test_a_better_challenger_takes_the_place_of_the_one_that_waits(
    store: DirectoryStore, second: Run
) -> None:
    """With real networks: the second ranks the same lesions better."""
    evaluated, registered = second.record("evaluate"), second.record("register")
    assert isinstance(evaluated, Evaluated)
    assert isinstance(registered, Registered)
    assert evaluated.standing
    assert evaluated.standing.ranking
    assert evaluated.standing.version == 1
    assert not evaluated.standing.ranking.new_is_worse
    assert (registered.alias, aliased(store)) == ("challenger", 2)
    with mlflow_client(store) as client:
        assert client.get_model_version(MODEL, "1").tags["status"] == "superseded"
    page = ask(second, "q", NOBODY).page
    assert "Version 1 waited for a decision when this model was judged" in page


@pytest.mark.parametrize(
    ("ranking", "challenger"),
    [
        ({"auc_difference": difference(-0.001)}, 1),
        ({"auc_difference": difference(0.0), "only_standing": 2, "only_new": 1}, 1),
        ({"auc_difference": difference(0.0), "only_standing": 1, "only_new": 1}, 2),
        ({"auc_difference": difference(None), "only_standing": 0, "only_new": 1}, 2),
        ({"auc_difference": difference(0.001), "only_standing": 9}, 2),
    ],
)
def test_a_worse_model_does_not_displace_the_challenger_that_waits(
    store: DirectoryStore, second: Run, ranking: dict[str, Any], challenger: int
) -> None:
    evaluated = second.record("evaluate")
    assert isinstance(evaluated, Evaluated)
    with mlflow_client(store) as client:
        client.set_registered_model_alias(MODEL, CHALLENGER, "1")
        why = become_challenger(client, second, 2, beside(evaluated, **ranking))
        assert alias_of(client, CHALLENGER) == challenger
        assert bool(why) == (challenger == 1)
        status = client.get_model_version(MODEL, str(3 - challenger)).tags["status"]
    assert status == "superseded"
    if why:
        assert f"--run {second.uri}" in why  # a person may still ask


def test_a_challenger_that_was_not_compared_with_the_one_that_waits_does_not_displace_it(
    store: DirectoryStore, second: Run
) -> None:
    evaluated = second.record("evaluate")
    assert isinstance(evaluated, Evaluated)
    with mlflow_client(store) as client:
        client.set_registered_model_alias(MODEL, CHALLENGER, "1")
        alone = evaluated.model_copy(update={"standing": None})
        assert "were not compared" in become_challenger(client, second, 2, alone)


def test_what_people_rejected_or_use_waits_for_no_decision(
    store: DirectoryStore, first: Run, second: Run
) -> None:
    with mlflow_client(store) as client:
        found = standing_challenger(client, store)
        assert found
        assert found.number == 2
        ask(second, "q", NOBODY)
        decide(store, "q", "reject", PHYSICIAN, "too few melanomas")
        assert standing_challenger(client, store) is None
        client.set_registered_model_alias(MODEL, CHALLENGER, "1")
        assert standing_challenger(client, store)
        promoted(first)
        assert standing_challenger(client, store) is None


def test_an_alias_on_a_version_that_no_run_here_registered_is_told_and_does_not_count(
    store: DirectoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    with mlflow_client(store) as client:
        client.set_model_version_tag(MODEL, "2", "run", f"{store.uri}/runs/first")
        assert standing_challenger(client, store) is None
    assert "which no run of" in caplog.text


def test_a_model_does_not_wait_for_itself_and_another_one_is_another_state_of_the_world(
    first: Run, second: Run
) -> None:
    assert "registry.challenger" in step_named("evaluate").outside
    assert outside_state(second) == ""
    assert '"model' not in outside_state(first)
    assert outside_state(first).startswith("[2, ")


def test_a_ranking_that_does_not_follow_from_the_predictions_is_caught(second: Run) -> None:
    evaluated = second.record("evaluate")
    assert isinstance(evaluated, Evaluated)
    uri = f"{second.uri}/evidence"
    forged = beside(evaluated, auc_difference=difference(0.3))
    reseal(Path(uri), {"evaluate/record.json": forged.model_dump_json().encode()})
    with pytest.raises(Corrupt, match="ranking beside the standing challenger"):
        the_ranking_follows_from_the_predictions(Bundle(uri))
