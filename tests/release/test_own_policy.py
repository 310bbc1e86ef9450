"""The whole way with a policy of the installation's own, with a real network and registry."""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tasks.engine.directory import DirectoryStore
from tasks.engine.person import VARIABLE
from tasks.engine.run import Run
from tasks.errors import BadInput, Corrupt, Halt
from tasks.evaluation.policy import fixed_key, policy_bytes
from tasks.records.record import sha256
from tasks.records.verdict import Verdict
from tasks.registry.champion import NOTE, adopt
from tasks.registry.promotions import Adoption, Promotion, promotions_in
from tasks.registry.versions import MODEL, mlflow_client
from tasks.release.compare import compare
from tasks.release.decide import decide
from tasks.release.evidence import Bundle
from tasks.release.promote import promote
from tasks.release.question import ask, known_policy
from tasks.release.verify import verify
from tests.support.approvals import COLLEAGUE, NOBODY, PHYSICIAN, copy_with_two, promoted
from tests.support.bundles import reseal
from tests.support.deliveries import BEFORE_REGISTER, delivered, do, run_of
from tests.support.policies import OURS, approved_policy, like, put

pytestmark = pytest.mark.slow

SMALL: dict[str, Any] = {
    "epochs": 1, "minimum_groups": 4, "recipes": ("baseline",), "policy": OURS,
}  # fmt: skip
POLICY = like("smoke")


@pytest.fixture(scope="module")
def judged(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A store with two models that an own policy let pass. Its file is gone since."""
    store = delivered(drawn, tmp_path_factory.mktemp("own") / "store")
    put(store, POLICY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, COLLEAGUE.model_dump_json())
        for name, seed in (("first", 20), ("second", 2)):
            do(run_of(store, name, seed=seed, **SMALL), *BEFORE_REGISTER[:3])
        put(store, like("smoke", rules=[]))  # broken, while both runs are on
        for name, seed in (("first", 20), ("second", 2)):
            with suppress(Halt):  # the second is the worse one, and is proposed to nobody
                do(run_of(store, name, seed=seed, **SMALL), *BEFORE_REGISTER[3:], "register")
        store.delete(OURS)
        yield Path(store.uri)


@pytest.fixture
def store(judged: Path, tmp_path: Path) -> DirectoryStore:
    return copy_with_two(judged, tmp_path / "store")


@pytest.fixture
def first(store: DirectoryStore) -> Run:
    return run_of(store, "first", **SMALL)


def approve(store: DirectoryStore) -> None:
    """People approve the policy, from the copy that the run kept."""
    put(store, POLICY)
    approved_policy(store)
    store.delete(OURS)


def test_gate_and_evidence_use_the_bytes_with_which_the_run_began(first: Run) -> None:
    verdict = first.record("gate")
    assert isinstance(verdict, Verdict)
    assert (verdict.policy.name, verdict.policy.sha256) == ("ours", sha256(POLICY))
    bundle = Bundle(f"{first.uri}/evidence")
    assert bundle.read("policy.yaml") == POLICY
    assert sha256(POLICY) in bundle.read("model_card.md").decode()
    with mlflow_client(first.store) as client:
        assert client.get_model_version(MODEL, "1").tags["policy"] == "ours, version 1"


def test_the_evidence_verifies_offline_and_names_the_policy(first: Run, tmp_path: Path) -> None:
    bundle = shutil.copytree(f"{first.uri}/evidence", tmp_path / "elsewhere" / "bundle")
    said = " ".join(verify(str(bundle)).held)
    assert f"the policy ours, version 1, SHA-256 {sha256(POLICY)}, which is none of this" in said
    reseal(bundle, {"policy.yaml": like("smoke", intended_use="Other.")})
    with pytest.raises(Corrupt, match="another policy judged"):
        verify(str(bundle))


def test_nobody_is_asked_about_a_model_before_two_people_approved_its_policy(first: Run) -> None:
    with pytest.raises(BadInput, match="does not know the policy") as refused:
        ask(first, "q", NOBODY)
    assert "approve-policy" in refused.value.do
    put(first.store, POLICY)
    approved_policy(first.store, people=(PHYSICIAN,))
    with pytest.raises(BadInput, match="does not know the policy"):
        ask(first, "q", NOBODY)
    now = promotions_in(first.store)
    decide(first.store, now.policies[-1].id, "approve", COLLEAGUE, "I agree.")
    question = ask(first, "q", NOBODY)
    assert "this installation's own" in question.page
    assert "colleague (Airflow)" in question.page
    assert "I agree" in question.page
    assert "Against the released policy smoke, version 1" in question.page or (
        "It judges as the released policy smoke, version 1 does." in question.page
    )


def test_a_model_goes_into_use_by_an_approved_policy_which_judges_the_next_one_too(
    store: DirectoryStore, first: Run
) -> None:
    approve(store)
    assert promoted(first) == 1
    last = promotions_in(store).facts[-1]
    assert isinstance(last, Promotion)
    assert any("ours, version 1, is known here: approved by" in each for each in last.checks)
    # The second was judged before there was a champion. The same bytes judge it anew.
    anew = compare(run_of(store, "second", seed=2, **SMALL))
    assert anew.name == "second-against-1"
    assert store.read(fixed_key(anew)) == POLICY
    assert Bundle(f"{anew.uri}/evidence").read("policy.yaml") == POLICY
    assert "this installation's own" in ask(anew, "about the second", NOBODY).page


def test_other_bytes_than_were_approved_promote_nothing(store: DirectoryStore, first: Run) -> None:
    approve(store)
    now = promotions_in(store)
    assert known_policy(Bundle(f"{first.uri}/evidence"), now).name == "ours"
    ask(first, "q", NOBODY)
    decide(store, "q", "approve", PHYSICIAN, "x")
    reseal(Path(first.uri, "evidence"), {"policy.yaml": POLICY + b"# weaker\n"})
    with pytest.raises(BadInput, match="does not know the policy"):
        known_policy(Bundle(f"{first.uri}/evidence"), now)
    with pytest.raises(Corrupt, match="not the bundle that was registered"):
        promote(first, "q")
    assert promotions_in(store).champion is None


def test_a_copy_that_changes_between_gate_and_register_is_told(store: DirectoryStore) -> None:
    run = run_of(store, "third", **SMALL)
    put(store, POLICY)
    do(run, *BEFORE_REGISTER)  # all of it reused
    store.replace(fixed_key(run), like("smoke", intended_use="Weaker."))
    with pytest.raises(Corrupt, match="that judged the run is gone"):
        do(run, "register")
    store.replace(fixed_key(run), POLICY)
    with pytest.raises(Halt, match="this very model is already version 1"):
        do(run, "register")
    assert Bundle(f"{run.uri}/evidence").read("policy.yaml") == POLICY


def test_a_policy_of_other_bytes_under_the_same_file_judges_anew(store: DirectoryStore) -> None:
    """Else the verdict of the earlier policy would be reused."""
    put(store, like("smoke", version=2))
    run = run_of(store, "third", **SMALL)
    verdict = do(run, *BEFORE_REGISTER)
    assert verdict.policy.version == 2
    assert verdict.provenance.reused_from is None
    assert run.record("train").provenance.reused_from == "first"  # type: ignore[union-attr]  # it trained
    again = do(run_of(store, "fourth", **SMALL), *BEFORE_REGISTER)
    assert again.provenance.reused_from == "third"
    put(store, POLICY)
    back = do(run_of(store, "fifth", **SMALL), *BEFORE_REGISTER)
    assert (back.policy.version, back.provenance.reused_from) == (1, None)


def test_a_policy_of_the_other_kind_of_lesions_is_told_by_validate(store: DirectoryStore) -> None:
    """Though its file has the name under which another policy fitted."""
    put(store, like("melanoma"))
    with pytest.raises(BadInput, match="does not fit the data"):
        do(run_of(store, "third", **SMALL), "ingest", "validate")


def test_a_policy_before_people_does_not_hide_the_champion_of_an_old_store(
    store: DirectoryStore, first: Run
) -> None:
    registered: Any = first.record("register")
    note = f'{{"run": "first", "version": 1, "model_sha256": "{registered.model_sha256}"}}'
    store.replace(NOTE, note.encode())
    approve(store)
    with mlflow_client(store) as client:
        now = adopt(client, store)
        assert adopt(client, store) == now
    assert now.champion
    assert now.champion.version == 1
    assert isinstance(now.facts[-1], Adoption)
    assert promotions_in(store) == now


def test_a_released_policy_needs_no_approval(store: DirectoryStore) -> None:
    """And its page says nothing of an own one."""
    run = run_of(store, "released", **(SMALL | {"policy": "smoke"}))
    with pytest.raises(Halt, match="this very model is already version 1"):
        do(run, *BEFORE_REGISTER, "register")
    assert store.read(fixed_key(run)) == policy_bytes("smoke")
    with mlflow_client(store) as client:
        tags = {"run": run.uri, "evidence_sha256": run.record("register").evidence.sha256}  # type: ignore[union-attr]  # it did
        for name, value in tags.items():
            client.set_model_version_tag(MODEL, "1", name, value)
    assert "installation's own" not in ask(run, "q", NOBODY).page
