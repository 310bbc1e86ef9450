"""The parts of MLflow that the pipeline uses: runs with curves, model versions, aliases."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from tasks.engine.directory import DirectoryStore
from tasks.engine.quiet import in_one_line, report_nothing
from tasks.engine.store import Store
from tasks.errors import BadInput, Corrupt, Momentary
from tasks.records.record import LedgerHead, sha256
from tasks.registry.database import ensure_database

EXPERIMENT = "melanoma_retraining"
DATABASE = "mlflow.db"  # beside a store in a directory, where no server is named
MODEL = "melanoma_classifier"
CHALLENGER = "challenger"
CHAMPION = "champion"
HEAD = "ledger_head"  # tag: the head of the ledger at the verdict, a `LedgerHead` in JSON
FILES = "files"  # tag: SHA-256 of each file of the version's folder, by path inside, in JSON


def tracking_uri(store: Store | None) -> str:
    """Address of MLflow: MLFLOW_TRACKING_URI, or a database beside a store in a directory.

    Raises:
        BadInput: MLFLOW_TRACKING_URI is not set, and the store is not a directory or the libraries
            here cannot open a database.
    """
    given = os.environ.get("MLFLOW_TRACKING_URI")
    if given:
        return given
    # A container carries MLflow's client only, which cannot open a database.
    if isinstance(store, DirectoryStore) and find_spec("sqlalchemy"):
        return database_uri(store)
    instead = f"{store.uri} cannot replace it" if store else "no store replaces it"
    raise BadInput(
        "There is no MLflow to register models with.",
        expected="MLFLOW_TRACKING_URI in the environment, such as http://127.0.0.1:5000",
        received=f"none, and {instead}: it is not a directory, or the libraries here cannot open a "
        "database",
        do="start `mlflow server` and set MLFLOW_TRACKING_URI to its address",
    )


def database_uri(store: DirectoryStore) -> str:
    """Address of the database beside a store in a directory."""
    return f"sqlite:///{store.root / DATABASE}"


def has_mlflow(store: Store) -> bool:
    """Whether a server is named, or the database beside a store in a directory was ever made."""
    address = tracking_uri(store)
    beside = isinstance(store, DirectoryStore) and address == database_uri(store)
    return not beside or Path(address.removeprefix("sqlite:///")).exists()


def mlflow_module(name: str) -> Any:
    """Import a module of MLflow, such as ``mlflow.entities``. No other function imports one.

    MLflow decides during its import whether it reports to its makers, so reports must be switched
    off before.
    """
    report_nothing()
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")  # the default of 7 takes minutes
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # for each page and file
    module = import_module(name)
    in_one_line("mlflow")
    return module


@contextmanager
def mlflow_client(store: Store | None) -> Iterator[Any]:
    """MLflow's client; its errors are raised as errors of this program.

    Raises:
        BadInput: MLflow does not hold the requested item, or refuses the login; or a database
            beside the store is damaged.
        Momentary: MLflow cannot be reached or failed, or its database is locked.
    """
    address = tracking_uri(store)
    mlflow, exceptions = mlflow_module("mlflow"), mlflow_module("mlflow.exceptions")
    if isinstance(store, DirectoryStore) and address == database_uri(store):
        store.root.mkdir(parents=True, exist_ok=True)
        ensure_database(store.root / DATABASE, mlflow_module)
    given = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(address)
    mlflow.set_registry_uri(address)
    # MLflow puts the address into the environment, where it would count for every other store.
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    if given:
        os.environ["MLFLOW_TRACKING_URI"] = given
    try:
        yield mlflow.MlflowClient()
    except exceptions.MlflowException as error:
        if error.error_code in LASTING:
            raise _refused(address, error) from error
        raise Momentary(f"MLflow at {address} failed: {error}") from error


# Answers of MLflow that a retry would not change.
GONE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # the latter of an alias
LASTING = (*GONE, "PERMISSION_DENIED", "UNAUTHENTICATED", "INVALID_STATE")


def _refused(address: str, error: Any) -> BadInput:
    return BadInput(
        "MLflow does not hold the requested item, or refuses it.",
        expected=f"the requested run, version, alias or login, at {address}",
        received=f"{error.error_code}: {error.message}",
        do="correct the address, the login or the name; register or promote again what was deleted "
        "in MLflow",
    )


def experiment_id(client: Any, store: Store) -> str:
    """The experiment of this product; created at the first call."""
    found = client.get_experiment_by_name(EXPERIMENT)
    if found:
        return str(found.experiment_id)
    # A server keeps artifacts itself; a bare database needs a place for them.
    database = tracking_uri(store).removeprefix("sqlite:///")
    bare = database != tracking_uri(store)
    place = Path(database).absolute().with_name("mlflow-artifacts").as_uri() if bare else None
    exceptions = mlflow_module("mlflow.exceptions")
    try:
        return str(client.create_experiment(EXPERIMENT, artifact_location=place))
    except exceptions.MlflowException as error:  # another process was faster
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return str(client.get_experiment_by_name(EXPERIMENT).experiment_id)


def find_version(client: Any, model_sha256: str) -> tuple[int, str] | None:
    """The version that holds this model, and the run that made it; None without such a version."""
    found = client.search_model_versions(
        f"name = '{MODEL}' and tag.model_sha256 = '{model_sha256}'"
    )
    return max(((int(each.version), str(each.tags.get("run"))) for each in found), default=None)


def files_of(client: Any, version: int) -> dict[str, str]:
    """The tag `FILES` of a version; empty where an earlier version of the program registered it.

    Raises:
        Corrupt: The tag is not as register writes it.
    """
    tag = client.get_model_version(MODEL, str(version)).tags.get(FILES, "{}")
    try:
        return TypeAdapter(dict[str, str]).validate_json(tag)
    except ValidationError as error:
        raise Corrupt(
            f"Version {version} of {MODEL} does not name its files.",
            expected=f"the tag {FILES} as register wrote it",
            received=" ".join(str(error).split())[:200],
            do="find out who changed the tags in MLflow",
        ) from error


def heads_of(client: Any, store: Store) -> list[LedgerHead]:
    """The heads of a store's ledger in the tags of the versions that the store registered.

    Raises:
        Corrupt: The tag of a version is not a head.
    """
    found = client.search_model_versions(f"name = '{MODEL}'")
    own = [each for each in found if each.tags.get("run", "").startswith(f"{store.uri}/runs/")]
    try:
        return [LedgerHead.model_validate_json(e.tags[HEAD]) for e in own if HEAD in e.tags]
    except ValidationError as error:
        raise Corrupt(
            f"A version of {MODEL} does not name the head of the ledger.",
            expected=f"the tag {HEAD} as register wrote it",
            received=" ".join(str(error).split())[:200],
            do="find out who changed the tags in MLflow",
        ) from error


@dataclass(frozen=True)
class Version:
    """A registered model version, as its tags describe it.

    Attributes:
        run: Address of the run that made the version.
        threshold: Melanoma probability at or above which the model calls a lesion melanoma.
        classes: Order of the model's outputs.
        source: Address where MLflow keeps the model.
        evidence: Address of the evidence, and the SHA-256 of its manifest; None for a version that
            was registered without evidence.
    """

    number: int
    run: str
    model_sha256: str
    threshold: float
    classes: tuple[str, ...]
    source: str
    evidence: str | None = None
    evidence_sha256: str | None = None


def version_named(client: Any, uri: str) -> Version:
    """The version at ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``.

    Raises:
        BadInput: There is no such version, or it lacks the tags that `register` writes.
    """
    refusal = mlflow_module("mlflow.exceptions").MlflowException
    name, at, alias = uri.removeprefix("models:/").partition("@")
    name, slash, number = (name, "", "") if at else name.partition("/")
    try:
        if at:
            return described(client.get_model_version_by_alias(name, alias))
        if slash and number.isdecimal():
            return described(client.get_model_version(name, number))
    except refusal as error:
        if error.error_code not in GONE:
            raise
    raise BadInput(
        "There is no such registered model.",
        expected=f"models:/{MODEL}@{CHAMPION} or models:/{MODEL}/1, of a version that exists",
        received=repr(uri),
        do="correct the name, alias or version, or MLFLOW_TRACKING_URI",
    )


def described(found: Any) -> Version:
    """A version as MLflow gives it, by its tags. Raises `BadInput` if it lacks them."""
    try:
        return Version(
            number=int(found.version),
            run=str(found.tags["run"]),
            model_sha256=str(found.tags["model_sha256"]),
            threshold=float(found.tags["threshold"]),
            classes=tuple(json.loads(found.tags["classes"])),
            source=str(found.source),
            evidence=found.tags.get("evidence"),
            evidence_sha256=found.tags.get("evidence_sha256"),
        )
    except (KeyError, ValueError) as error:
        raise BadInput(
            f"Version {found.version} of {MODEL} lacks its description.",
            expected="the tags run, model_sha256, threshold and classes, as register writes them",
            received=f"{type(error).__name__}: {error}; tags {', '.join(sorted(found.tags))}",
            do="name a version that this program registered; if it is the champion, promote "
            "another or remove that alias",
        ) from error


def model_bytes(version: Version) -> bytes:
    """The ``.keras`` file of a version, inside `mlflow_client`.

    Raises:
        Corrupt: The file is not the one that was registered.
    """
    with tempfile.TemporaryDirectory() as folder:
        data = downloaded(
            f"{version.source}/data/model.keras",
            Path(folder),
            f"The model of version {version.number} of {MODEL}",
        ).read_bytes()
    if sha256(data) != version.model_sha256:
        raise Corrupt(
            f"Version {version.number} of {MODEL} is not the model that was registered.",
            expected=f"SHA-256 {version.model_sha256}",
            received=f"SHA-256 {sha256(data)}",
            do="find out who changed MLflow's artifact",
        )
    return data


def downloaded(address: str, folder: Path, what: str) -> Path:
    """Fetch a file or a folder of MLflow's artifacts, inside `mlflow_client`.

    Args:
        address: Where MLflow keeps it.
        folder: Gets a copy.
        what: For the message.

    Returns:
        The path of the copy.

    Raises:
        Corrupt: There is no such artifact.
        Momentary: MLflow did not answer.
    """
    refusal = mlflow_module("mlflow.exceptions").MlflowException
    try:
        path = Path(
            mlflow_module("mlflow.artifacts").download_artifacts(
                artifact_uri=address, dst_path=str(folder)
            )
        )
        path.stat()
    except (refusal, OSError) as error:  # errors of requests are OSError
        if _passes(error):
            raise Momentary(f"MLflow did not give {address}: {error}") from error
        raise Corrupt(
            f"{what} is gone from MLflow.",
            expected=f"an artifact {address}",
            received=" ".join(str(error).split())[:300],
            do="restore MLflow's artifacts from a backup, or register the run again",
        ) from error
    return path


def _passes(error: Any) -> bool:
    """Whether a failed download may succeed later: the server is unreachable, or failing."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is None and type(error).__module__.startswith("requests"):
        return True  # no answer at all
    code = getattr(error, "error_code", "")
    return bool((status or 0) >= 500 or code in ("TEMPORARILY_UNAVAILABLE", "DEADLINE_EXCEEDED"))


def has_run(client: Any, run_id: str) -> bool:
    """Whether MLflow holds this run. It may be missing: MLflow did not answer when the training
    began, the training was reused and MLflow's database is newer than the training, or somebody
    deleted it."""
    refusal = mlflow_module("mlflow.exceptions").MlflowException
    try:
        return bool(client.get_run(run_id).info.lifecycle_stage == "active")
    except refusal:
        return False
