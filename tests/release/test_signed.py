"""From delivery to promotion with a key, and what a forger who lacks the key cannot do."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.__main__ import main
from tasks.engine.directory import DirectoryStore
from tasks.engine.ledger import SIGNING, chain_of
from tasks.engine.run import Run, read_record
from tasks.engine.signing import NOT_CHECKED, UNSIGNED, keys_of
from tasks.errors import BadInput, Corrupt
from tasks.records.registered import Registered
from tasks.records.verdict import Verdict
from tasks.registry.champion import champion
from tasks.registry.model_folder import SIGNATURE as MODEL_SIGNATURE
from tasks.registry.promotions import Promotion, promotions_in
from tasks.registry.versions import FILES, MODEL, mlflow_client
from tasks.release.evidence import FOLDER, SIGNATURE
from tasks.release.promote import promote
from tasks.release.sign import sign
from tasks.release.signature import sign_evidence
from tasks.release.verify import verify
from tasks.reporting.report import report
from tests.support.approvals import PHYSICIAN, approved, promoted
from tests.support.bundles import linked_records, reseal
from tests.support.deliveries import do, judged_run
from tests.support.keys import Pair, pair_in, use
from tests.support.paths import ROOT
from tests.support.world import explained

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return pair_in(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def signed(drawn: Path, pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that was signed from its first step on, and is registered; only to be read."""
    with pytest.MonkeyPatch.context() as patch:
        use(patch, pair.private)
        run = judged_run(drawn, tmp_path_factory.mktemp("signed") / "store")
        do(run, "register")
    return run


@pytest.fixture
def key(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> Pair:
    """The key of this process."""
    use(monkeypatch, pair.private)
    return pair


def copy_of(run: Run, to: Path) -> Run:
    """A copy of a run's store, to be promoted or forged in. MLflow's artifacts stay where they
    were."""
    copy = Run(DirectoryStore(Path(shutil.copytree(run.store.uri, to))), run.name, run.config)
    with mlflow_client(copy.store) as client:
        client.set_model_version_tag(MODEL, "1", "run", copy.uri)
    return copy


@pytest.fixture
def registered(signed: Run, key: Pair, tmp_path: Path) -> Run:
    return copy_of(signed, tmp_path / "store")


def record_of(run: Run, step: str) -> Path:
    return Path(run.store.uri, "runs", run.name, step, "record.json")


def bundle_of(run: Run) -> Path:
    return Path(run.store.uri, "runs", run.name, FOLDER)


def served_folder(run: Run) -> Path:
    """The folder that MLflow serves."""
    with mlflow_client(run.store) as client:
        return Path(client.get_model_version(MODEL, "1").source.removeprefix("file://"))


def test_a_run_is_signed_from_its_first_step_to_its_promotion(
    registered: Run, key: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    said = f"signed by the key SHA-256 {key.fingerprint}"
    assert verify(str(bundle_of(registered))).signature == said
    assert promoted(registered) == 1
    (moved,) = (
        each for each in promotions_in(registered.store).facts if isinstance(each, Promotion)
    )
    assert any(f"the model is {said}" in each for each in moved.checks)
    with mlflow_client(registered.store) as client:
        found = champion(client, registered.store)
    assert found
    assert found.number == 1
    assert said in registered.store.read(report(registered)).decode()
    asked = promotions_in(registered.store).question("asked by a test")
    assert asked
    assert said in asked.page
    assert main(["ledger", "--store", registered.store.uri]) == 0
    assert said in capsys.readouterr().out
    assert main(["verify", "--evidence", str(bundle_of(registered))]) == 0
    assert said in capsys.readouterr().out


def test_the_standard_tool_verifies_bundle_and_model_and_an_auditor_needs_the_public_key_only(
    registered: Run, key: Pair, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def by_the_tool(folder: Path, name: str) -> int:
        argv = ["verify", "key", folder, "--signature", folder / name, "--public_key", key.public]
        told = [sys.executable, "-m", "model_signing", *map(str, argv)]
        return subprocess.run(told, capture_output=True, check=False).returncode

    bundle = bundle_of(registered)
    assert by_the_tool(bundle, SIGNATURE) == 0
    assert by_the_tool(served_folder(registered), MODEL_SIGNATURE) == 0
    use(monkeypatch)
    assert main(["verify", "--evidence", str(bundle)]) == 0
    assert NOT_CHECKED in capsys.readouterr().out
    asked = ["verify", "--evidence", str(bundle), "--public-key", str(key.public)]
    assert main(asked) == 0
    assert f"signed by the key SHA-256 {key.fingerprint}" in capsys.readouterr().out
    (bundle / "model_card.md").write_bytes(b"# Another card")
    assert by_the_tool(bundle, SIGNATURE) == 1
    assert main(asked) == 64


WATCHED = """
import sys
asked = []
def watch(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        asked.append((event, str(args)))
        raise OSError("no network")
sys.addaudithook(watch)
"""
SIGNED = """
from pathlib import Path
from tasks.engine.folder_signature import sign_folder, why_not_signed
from tasks.engine.signing import keys_here
folder = Path(sys.argv[1])
(folder / "new.sig").write_bytes(sign_folder(folder, "new.sig", keys_here()))
assert why_not_signed(folder, "new.sig", keys_here()) == ("", keys_here().fingerprint)
"""
ASKING = """
import urllib.request
try:
    urllib.request.urlopen("http://192.0.2.1:9", timeout=1)
except OSError:
    pass
"""


@pytest.mark.parametrize(("code", "asks"), [(SIGNED, False), (ASKING, True)])
def test_signing_and_verifying_ask_no_network(
    key: Pair, tmp_path: Path, code: str, asks: bool
) -> None:
    (tmp_path / "file").write_text("x")
    told = f"{WATCHED}{code}\nassert bool(asked) == {asks}, asked"
    argv = [sys.executable, "-c", told, str(tmp_path)]
    ended = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


# Forgeries ----------------------------------------------------------------------------------------


def test_a_verdict_that_was_forged_before_registration_is_not_registered(
    registered: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the last record before the registration, so all hashes fit."""
    for left in (record_of(registered, "register").parent, bundle_of(registered)):
        shutil.rmtree(left)
    path = record_of(registered, "gate")
    content = json.loads(path.read_bytes()) | {"reason": "All rules are met, and more."}
    path.write_text(json.dumps(content, indent=1))
    with pytest.raises(Corrupt) as refused:
        do(registered, "register")
    assert "gate/record.json is not signed" in explained(refused.value)
    assert not bundle_of(registered).exists()
    use(monkeypatch)
    verdict = registered.record("gate")
    assert isinstance(verdict, Verdict)
    assert verdict.reason == "All rules are met, and more."  # without a key nobody can know


def test_a_bundle_that_was_forged_and_sealed_again_is_refused(
    registered: Run, key: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = bundle_of(registered)
    card = (bundle / "environment.json").read_bytes() + b" "
    reseal(bundle, {"environment.json": card})
    # The forger's manifest names the signature as a file of its own, or the forger removes it.
    for removed in (False, True):
        if removed:
            (bundle / SIGNATURE).unlink()
            reseal(bundle, {})
        with pytest.raises(Corrupt):
            verify(str(bundle))
    with pytest.raises(Corrupt, match="not signed by a key that is accepted"):
        verify(str(bundle))
    use(monkeypatch)
    assert verify(str(bundle)).signature == UNSIGNED


def test_what_an_old_key_signed_is_taken_and_stays_when_the_new_key_vouches_for_it(
    registered: Run, key: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = pair_in(tmp_path / "new")
    bundle = str(bundle_of(registered))
    with pytest.raises(Corrupt, match="another key"):
        verify(bundle, keys=keys_of(new.public))
    use(monkeypatch, new.private, key.public)
    assert key.fingerprint in verify(bundle).signature
    assert registered.record("gate")
    assert chain_of(registered.store).entries
    sign(registered.store, PHYSICIAN, "The old key is given up.")
    use(monkeypatch, new.private)
    assert new.fingerprint in verify(bundle).signature
    for step in ("ingest", "gate", "register"):
        assert registered.record(step)
    assert chain_of(registered.store).entries
    use(monkeypatch, key.private)
    with pytest.raises(Corrupt, match="another key"):
        chain_of(registered.store)


def test_a_bundle_that_was_not_signed_yet_is_signed_only_if_it_is_the_runs_own(
    registered: Run, key: Pair
) -> None:
    """Killed between manifest and signature, `register` finds a bundle; it may be a forger's."""
    bundle = bundle_of(registered)
    (bundle / SIGNATURE).unlink()
    sign_evidence(registered)
    assert key.fingerprint in verify(str(bundle)).signature
    (bundle / SIGNATURE).unlink()
    forged = linked_records(bundle, {"evaluate": lambda content: content.update(threshold=0.01)})
    reseal(bundle, forged)
    with pytest.raises(Corrupt, match="not what the run's records give"):
        sign_evidence(registered)
    assert not (bundle / SIGNATURE).exists()


def other_libraries(folder: Path) -> None:
    (folder / "requirements.txt").write_text("keras\nsomething-evil\n")


def unsigned(folder: Path) -> None:
    other_libraries(folder)
    (folder / MODEL_SIGNATURE).unlink()


@pytest.mark.parametrize("harm", [other_libraries, unsigned])
def test_a_served_folder_with_other_hashes_everywhere_is_refused(
    registered: Run, monkeypatch: pytest.MonkeyPatch, harm: Callable[[Path], None]
) -> None:
    """A forger changes what MLflow serves, MLflow's tag and the record."""
    from tasks.registry.model_folder import hashes_of

    approved(registered)
    folder = served_folder(registered)
    kept = Path(shutil.copytree(folder, Path(registered.store.uri, "kept")))
    try:
        harm(folder)
        files = hashes_of(folder)
        with mlflow_client(registered.store) as client:
            client.set_model_version_tag(MODEL, "1", FILES, json.dumps(files))
        path = record_of(registered, "register")
        path.write_text(json.dumps(json.loads(path.read_bytes()) | {"files": files}, indent=1))
        with pytest.raises(Corrupt, match=r"register/record.json is not signed"):
            promote(registered)
        path.unlink()  # to be registered again, with MLflow's word for it
        with pytest.raises(Corrupt, match="not the folder that was registered"):
            do(registered, "register")
    finally:
        shutil.rmtree(folder)
        shutil.move(kept, folder)


# A store from before the key ----------------------------------------------------------------------


def test_a_store_from_before_the_key_is_refused_until_a_person_vouches_for_it(
    registered_run: Run, pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    run = copy_of(registered_run, tmp_path / "old")
    store = run.store
    assert verify(str(bundle_of(run))).signature == UNSIGNED
    use(monkeypatch, pair.private)
    for refused in (
        lambda: chain_of(store),
        lambda: run.record("register"),
        lambda: verify(str(bundle_of(run))),
    ):
        with pytest.raises(Corrupt, match="not signed"):
            refused()
    assert main(["sign", "--store", store.uri, "--reason", " "]) == 64
    assert main(["sign", "--store", store.uri, "--reason", "I looked."]) == 0
    bundles = len(list(Path(store.uri).glob("runs/*/evidence/manifest.json")))
    assert f"{bundles} bundles" in capsys.readouterr().out
    assert isinstance(run.record("register"), Registered)
    assert pair.fingerprint in verify(str(bundle_of(run))).signature
    last = chain_of(store).entries[-1]
    assert last.kind == "signing"
    assert last.content["reason"] == "I looked."
    again = sign(store, PHYSICIAN, "again")
    assert (again.entries, again.records, again.bundles) == (0, 0, 0)
    assert promoted(run) == 1
    use(monkeypatch, public=pair.public)
    with pytest.raises(BadInput, match="Nothing is signed"):
        sign(store, PHYSICIAN, "only a public key")


def test_sign_vouches_for_no_forgery(registered: Run, key: Pair) -> None:
    store = registered.store
    path = record_of(registered, "gate")
    genuine = path.read_bytes()
    path.write_bytes(genuine.replace(b'"decision": "pass"', b'"decision": "fail"', 1))
    assert path.read_bytes() != genuine
    with pytest.raises(Corrupt, match="no accepted key made"):
        sign(store, PHYSICIAN, "all is well")
    path.write_bytes(genuine)
    bundle = bundle_of(registered)
    reseal(bundle, {"environment.json": (bundle / "environment.json").read_bytes() + b" "})
    with pytest.raises(Corrupt, match="no accepted key made"):
        sign(store, PHYSICIAN, "all is well")
    (bundle / SIGNATURE).unlink()
    reseal(bundle, {})
    with pytest.raises(Corrupt, match="not the one with which the run was judged"):
        sign(store, PHYSICIAN, "all is well")


def test_a_bundle_of_the_first_format_verifies_as_unsigned_and_signed_after_sign(
    store_of_format_1: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = str(store_of_format_1 / "runs/first/evidence")
    assert verify(bundle).signature == UNSIGNED
    use(monkeypatch, pair.private)
    with pytest.raises(Corrupt, match="not signed"):
        verify(bundle)
    done = sign(DirectoryStore(store_of_format_1), PHYSICIAN, "the upgrade")
    assert done.bundles == 1
    assert pair.fingerprint in verify(bundle).signature
    assert [each.kind for each in chain_of(DirectoryStore(store_of_format_1)).entries][
        -1
    ] == SIGNING
    assert read_record(DirectoryStore(store_of_format_1), "first", "gate")
    use(monkeypatch)
    assert verify(bundle).signature == NOT_CHECKED
