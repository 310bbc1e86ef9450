"""One run of the pipeline, as a step sees it: the run's folder in the store, and its records."""

import json
import logging
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from pydantic import ValidationError

from tasks.config import Retraining
from tasks.engine.signing import RECORD, keys_here, not_signed, without_signature
from tasks.engine.storage import open_store
from tasks.engine.store import Entry, Store, read_many
from tasks.engine.vouchers import vouched
from tasks.errors import AlreadyExists, BadInput, Corrupt, NotFound
from tasks.lesions import is_image
from tasks.pipeline import step_named
from tasks.records.record import Artifact, Record, sha256

if TYPE_CHECKING:
    from tasks.engine.withdrawals import Withdrawn

log = logging.getLogger("tasks")

CHECKPOINTS = "checkpoints"  # folder of a step or part, not needed once its record exists

RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


@dataclass(frozen=True)
class Progress:
    """Progress of a step: `done` of `total`, and in words `text` ("epoch 3/20, loss 1.21")."""

    step: str
    done: int
    total: int
    text: str


@dataclass(frozen=True)
class Run:
    """The run that a step reads from and writes to.

    Attributes:
        store: The store.
        name: Name of the run, ``runs/<name>/`` in the store.
        config: The run's configuration.
        step: The current step, or the part of a step, such as ``ingest/2-of-4``. Artifacts go to
            the folder of this name.
        watch: Called with each `Progress`, in the process of the step.
        attempt: Folder of this attempt's artifacts. Two attempts at one step may overlap, if a
            worker that was given up for lost goes on. Neither may overwrite artifacts that the
            other's record vouches for.
    """

    store: Store
    name: str
    config: Retraining
    step: str = ""
    watch: Callable[[Progress], None] = field(default=lambda progress: None, repr=False)
    attempt: str = field(default_factory=lambda: secrets.token_hex(4))

    @property
    def uri(self) -> str:
        return f"{self.store.uri}/runs/{self.name}"

    def key(self, filename: str, step: str | None = None) -> str:
        return f"runs/{self.name}/{step or self.step}/{filename}"

    def keep(self, filename: str, data: bytes) -> Artifact:
        """Write an artifact into this attempt's folder of the step."""
        key = self.key(f"{self.attempt}/{filename}")
        self.store.replace(key, data)
        return Artifact(key=key, sha256=sha256(data), size_bytes=len(data))

    def share(self, kind: str, data: bytes, suffix: str) -> Artifact:
        """Write an artifact that other runs can use too, under the hash of its content."""
        digest = sha256(data)
        key = f"shared/{kind}/{digest}{suffix}"
        try:
            self.store.create(key, data)
        except AlreadyExists:
            artifact = Artifact(key=key, sha256=digest, size_bytes=len(data))
            found = sha256(self.store.read(key))
            if found != digest and self._was_erased(artifact, found):
                raise BadInput(
                    "What was erased would come back.",
                    expected="a run that holds no erased image",
                    received=f"{key} as it was before the erasure",
                    do="start a new run",
                ) from None
            if found != digest:
                log.warning("%s was damaged; it is written again.", key)
                self.store.replace(key, data)
        return Artifact(key=key, sha256=digest, size_bytes=len(data))

    def fetch(self, artifact: Artifact) -> bytes:
        """Read an artifact. Raises `Corrupt` if its bytes do not match the record."""
        return self._checked(artifact, self.store.read(artifact.key))

    def fetch_many(self, artifacts: tuple[Artifact, ...]) -> Iterator[bytes]:
        """Read artifacts in parallel; see `fetch`."""
        contents = read_many(self.store, [artifact.key for artifact in artifacts])
        for artifact, data in zip(artifacts, contents, strict=True):
            yield self._checked(artifact, data)

    def _checked(self, artifact: Artifact, data: bytes) -> bytes:
        if sha256(data) != artifact.sha256 and not self._was_erased(artifact, sha256(data)):
            raise Corrupt(
                "An artifact does not match its record.",
                expected=f"SHA-256 {artifact.sha256} of {artifact.key}",
                received=f"SHA-256 {sha256(data)}",
                do="find out who changed it; then start a new run",
            )
        return data

    def _was_erased(self, artifact: Artifact, found: str) -> bool:
        """Whether the ledger of erasures says that the artifact has these bytes now."""
        from tasks.engine.erasures import erasures_in  # its chain needs this module

        allowed = erasures_in(self.store).allows(artifact.key, artifact.sha256, found)
        if allowed:
            log.info("%s lacks what was erased, as the ledger of erasures says.", artifact.key)
        return allowed

    def delivered(self) -> list[Entry]:
        """The files under ``raw/`` when this run first looked and found an image.

        The run writes the list down at that moment, so all parts of a step work on the same files,
        however late each begins. Files that are delivered later are for the next run. Withdrawn
        files are left out, and written down beside.
        """
        return [entry for entry in self._files() if entry.key.startswith("raw/")]

    def external(self) -> list[Entry]:
        """The files of the external sets at the same moment; see `delivered`."""
        return [entry for entry in self._files() if entry.key.startswith("external/")]

    def _files(self) -> list[Entry]:
        with suppress(NotFound):
            return [Entry(**entry) for entry in json.loads(self.store.read(self._raw))]
        found, gone = [*self.store.list("raw/"), *self.store.list("external/")], self.withdrawn()
        left = _without(found, gone)
        if not any(is_image(entry.key) for entry in left if entry.key.startswith("raw/")):
            return left
        if gone:
            said = json.dumps([each.model_dump(mode="json") for each in gone]).encode()
            with suppress(AlreadyExists):  # then what another part saw counts
                self.store.create(self._gone, said)
            left = _without(found, self.withdrawn())
        try:
            self.store.create(self._raw, json.dumps([asdict(entry) for entry in left]).encode())
        except AlreadyExists:
            return self._files()
        return left

    def withdrawn(self) -> list["Withdrawn"]:
        """The files that were withdrawn when this run first looked, and so are left out.

        Raises:
            Corrupt: The ledger of deliveries is damaged, or not signed where it must be.
        """
        # The ledger's module knows runs; a run asks the ledger only here.
        from tasks.engine.withdrawals import Withdrawn, withdrawals_in

        with suppress(NotFound):
            told = json.loads(self.store.read(self._gone))
            listed = self._listed() or set()
            return [Withdrawn(**each) for each in told if each["key"] not in listed]
        if self._listed() is not None:
            return []
        return list(withdrawals_in(self.store).now.values())

    def _listed(self) -> set[str] | None:
        """The keys that the run wrote down; None if it has not done so yet."""
        with suppress(NotFound):
            return {str(each["key"]) for each in json.loads(self.store.read(self._raw))}
        return None

    @property
    def _raw(self) -> str:
        return f"runs/{self.name}/raw.json"

    @property
    def _gone(self) -> str:
        return f"runs/{self.name}/withdrawn.json"

    def progress(self, done: int, total: int, text: str) -> None:
        """Report the progress of this step, to this process and into the store."""
        now = Progress(self.step, done, total, text)
        self.watch(now)
        self.store.replace(self.key("progress.json"), json.dumps(now.__dict__).encode())

    def record(self, step: str) -> Record | None:
        """The committed record of a step of this run, or None."""
        return read_record(self.store, self.name, step)


def _without(entries: list[Entry], withdrawn: list["Withdrawn"]) -> list[Entry]:
    gone = {each.key for each in withdrawn}
    return [entry for entry in entries if entry.key not in gone]


def open_run(uri: str, config: Retraining, *, step: str = "") -> Run:
    """Open ``<store>/runs/<name>``.

    Raises:
        BadInput: The address does not end in ``/runs/<name>``.
    """
    store, separator, name = uri.rstrip("/").rpartition("/runs/")
    if not separator or not store or not RUN_NAME.fullmatch(name):
        raise BadInput(
            "The address of the run is not understood.",
            expected="STORE/runs/NAME, with letters, digits, '.', '_' and '-' in NAME",
            received=repr(uri),
            do="give for example --run store/runs/first, or s3://bucket/prefix/runs/first",
        )
    return Run(open_store(store), name, config, step)


def read_record(store: Store, run: str, step: str) -> Record | None:
    """The committed record of a step, or None.

    Raises:
        BadInput: The record exists, but this version of the program cannot read it.
        Corrupt: There is a key, and the record is not signed for this run and step.
    """
    key = record_key(run, step)
    try:
        return parse_record(store, run, step, store.read(key))
    except NotFound:
        return None


def record_key(run: str, step: str) -> str:
    """Where the record of a step of a run lies."""
    return f"runs/{run}/{step}/record.json"


def parse_record(store: Store, run: str, step: str, data: bytes) -> Record:
    """The record in these bytes, as `read_record`."""
    key = record_key(run, step)
    try:
        record = step_named(step).gives.parsed(data, key)
    except ValidationError as error:
        raise BadInput(
            f"The record {key} cannot be read.",
            expected=f"a {step_named(step).gives.__name__} of this version of the program",
            received=str(error).splitlines()[0],
            do="start a new run: records are never rewritten",
        ) from error
    keys = keys_here()
    if keys.on:
        signature = record.provenance.signature if record.provenance else ""
        why = keys.why_not(RECORD, key, without_signature(data, signature), signature)
        if why and not vouched(store, keys, key, data):
            raise not_signed(f"The record {key}", why, store.uri)
    return record


def latest_key(step: str) -> str:
    return f"shared/latest/{step}.json"


def latest_run(store: Store, step: str) -> str | None:
    """The run that last committed a step, or promoted its model last; None without such a run."""
    try:
        return str(json.loads(store.read(latest_key(step)))["run"])
    except NotFound:
        return None
    except (BadInput, ValueError, KeyError, TypeError) as error:
        log.warning("Cannot find the last run that reached %s: %s", step, error)
        return None
