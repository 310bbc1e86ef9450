"""The evidence of a run: a bundle of files that documents a model and can be checked by itself.

The bundle ``runs/<run>/evidence/`` holds the record of every step up to the gate, every table and
page that these records vouch for, the ledger at the verdict, the policy, the model card, the
libraries, a few test images (see `tasks.release.golden`), and ``manifest.json`` with the SHA-256 of
each file. The manifest is written once, after all other files. The bundle names all other pixels,
and the weights, only by their hashes. It depends only on the records, the ledger, the pixels and
the installed program, so two attempts write the same bytes.

A bundle can be copied anywhere: it refers to nothing outside itself. With a key, ``evidence.sig``
signs the whole folder, see `tasks.release.signature`.
"""

import io
import json
import logging
import os
import stat
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import pandas as pd
from pydantic import Field, ValidationError

from tasks.engine import environment
from tasks.engine.directory import DirectoryStore
from tasks.engine.ledger import FOLDER as CHAIN
from tasks.engine.ledger import Chain, chain_of, entry_key, parse_chain
from tasks.engine.run import Run, parse_record, record_key
from tasks.engine.signing import Keys, keys_here
from tasks.engine.spreadsheet import csv_of
from tasks.engine.storage import open_store
from tasks.engine.store import Store
from tasks.errors import AlreadyExists, BadInput, Corrupt, NotFound
from tasks.evaluation.policy import bytes_that_judged, parse_policy
from tasks.intake.manifest import parquet_of
from tasks.pipeline import PIPELINE, Step
from tasks.records.evaluated import Evaluated
from tasks.records.record import Artifact, Frozen, Record, artifacts_of, sha256
from tasks.records.split import Split
from tasks.records.validated import Validated
from tasks.records.verdict import Verdict
from tasks.release.card import card_as_html, card_version, model_card
from tasks.release.gaps import GAPS, Gaps, gaps_from
from tasks.release.golden import golden_files

log = logging.getLogger(__name__)

FORMAT = "melanoma-retraining evidence, 3"
SECOND = "melanoma-retraining evidence, 2"  # without golden images
FIRST = "melanoma-retraining evidence, 1"  # without the ledger
LEDGER = "ledger/"  # folder of a bundle
FOLDER = "evidence"
MANIFEST = "manifest.json"
SIGNATURE = "evidence.sig"  # over all other files, the manifest too; only where there is a key
STEPS: tuple[Step, ...] = tuple(step for step in PIPELINE if step.name != "register")
# A bundle does not copy pixels and weights; its records name them by hash.
NOT_COPIED = (".npy", ".keras")


class File(Frozen):
    sha256: str
    size_bytes: int


class Manifest(Frozen):
    """The manifest of a bundle.

    Attributes:
        files: Every file of the bundle except the manifest, by path inside the bundle.
        seal: SHA-256 over the rest of the manifest.
    """

    format: str
    run: str
    files: dict[str, File]
    seal: str = Field("", pattern="^([0-9a-f]{64})?$")

    def sealed(self) -> "Manifest":
        return self.model_copy(update={"seal": sha256(self.model_copy(update={"seal": ""}).data)})

    @property
    def data(self) -> bytes:
        """The bytes of the manifest file. The same manifest always gives the same bytes."""
        return json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True).encode()


# Writing ----------------------------------------------------------------------------------------


def keep_evidence(run: Run) -> Artifact:
    """Write the bundle of a run, unless it exists already; returns its manifest.

    What an earlier attempt that was killed left half written in the bundle is removed. The bundle
    is not signed yet, see `tasks.release.signature.sign_evidence`.

    Raises:
        BadInput: A record of the run is missing, or an artifact does not match its record.
    """
    key = f"runs/{run.name}/{FOLDER}/{MANIFEST}"
    run.store.sweep(f"runs/{run.name}/{FOLDER}/")
    standing = _standing(run.store, key)
    if standing:
        return standing
    files = {}
    for path, data in gathered(run):
        run.store.replace(f"runs/{run.name}/{FOLDER}/{path}", data)
        files[path] = File(sha256=sha256(data), size_bytes=len(data))
    manifest = Manifest(format=FORMAT, run=run.name, files=files).sealed()
    try:
        run.store.create(key, manifest.data)
    except AlreadyExists:
        winner = _standing(run.store, key)
        assert winner
        return winner
    size = sum(file.size_bytes for file in files.values())
    log.info("Evidence: %d files, %.1f MB, in %s/%s.", len(files), size / 1e6, run.uri, FOLDER)
    return Artifact(key=key, sha256=sha256(manifest.data), size_bytes=len(manifest.data))


def _standing(store: Store, key: str) -> Artifact | None:
    try:
        data = store.read(key)
    except NotFound:
        return None
    return Artifact(key=key, sha256=sha256(data), size_bytes=len(data))


def gathered(run: Run) -> Iterator[tuple[str, bytes]]:
    """Path inside the bundle, and content, of every file except the manifest."""
    records: dict[str, Record] = {}
    for step in STEPS:
        try:
            data = run.store.read(record_key(run.name, step.name))
        except NotFound:
            raise NotFound(
                "The evidence needs the record of every step up to the gate.",
                expected=f"the record of {step.name} in {run.uri}",
                received="no such record",
                do=f"run `python -m tasks {step.name} --run {run.uri}` first",
            ) from None
        record = parse_record(run.store, run.name, step.name, data)
        records[step.name] = record
        yield f"{step.name}/record.json", data
        for path, artifact in places(step.name, record).items():
            yield path, run.fetch(artifact)
    verdict = records["gate"]
    assert isinstance(verdict, Verdict)
    for entry in chain_of(run.store).until(verdict.ledger).entries:
        yield LEDGER + entry_key(entry.number).rpartition("/")[2], entry.data
    split, evaluated = records["split"], records["evaluate"]
    assert isinstance(split, Split)
    assert isinstance(evaluated, Evaluated)
    yield from golden_files(run, split, evaluated)
    policy = bytes_that_judged(run, verdict.policy)
    yield "policy.yaml", policy
    yield "environment.json", environment.described(card=card_version())
    locked, listed = environment.lock(), environment.sbom()
    if locked:
        yield "lock.txt", locked
    if listed:
        yield "sbom.cdx.json", listed
    else:
        log.warning("No bill of materials: cyclonedx-py is not installed here.")
    card = model_card(run.name, records, parse_policy(policy, "policy.yaml"))
    yield "model_card.md", card.encode()
    yield "model_card.html", card_as_html(card, run.name).encode()


def places(step: str, record: Record) -> dict[str, Artifact]:
    """The artifacts of a record that a bundle copies, by path inside the bundle.

    The path is the name of the step, then the artifact's name in the folder of its attempt. Two
    artifacts of the same name also get their hash into the path.
    """
    found: dict[str, Artifact] = {}
    for artifact in artifacts_of(record):
        if artifact.key.endswith(NOT_COPIED):
            continue
        parts = artifact.key.split("/")
        # runs/<run>/<step>/<attempt>/<name...>, or shared/<kind>/<hash>
        path = f"{step}/" + "/".join(parts[4:] if parts[0] == "runs" else parts[1:])
        if found.get(path, artifact).sha256 != artifact.sha256:
            path = f"{step}/{artifact.sha256[:16]}/{parts[-1]}"
        found[path] = artifact
    return found


# Reading ----------------------------------------------------------------------------------------


class Bundle:
    """An opened bundle, in a directory or on S3. Opening does not verify its content: see
    `tasks.release.verify`.

    Attributes:
        store: The bundle's folder.
        uri: Its address.
        keys: Whose signatures are accepted.
    """

    def __init__(self, uri: str, keys: Keys | None = None) -> None:
        self.store = open_store(uri)
        self.keys = keys or keys_here()
        self.uri = self.store.uri
        if isinstance(self.store, DirectoryStore):
            _check_plain_files(self.store.root)

    def paths(self) -> set[str]:
        """Every file in the bundle, hidden ones included."""
        if isinstance(self.store, DirectoryStore):
            root = self.store.root
            return {path.relative_to(root).as_posix() for path in _walked(root)}
        return {entry.key for entry in self.store.list("")}

    @cached_property
    def manifest_data(self) -> bytes:
        try:
            return self.store.read(MANIFEST)
        except NotFound:
            raise BadInput(
                "There is no evidence here.",
                expected=f"a bundle, with {MANIFEST}, such as STORE/runs/NAME/{FOLDER}",
                received=f"no {MANIFEST} in {self.uri}",
                do="correct the address; a bundle without a manifest was never finished",
            ) from None

    @cached_property
    def manifest(self) -> Manifest:
        try:
            return Manifest.model_validate_json(self.manifest_data)
        except ValidationError as error:
            raise Corrupt(
                "The manifest of the evidence cannot be read.",
                expected=f"{MANIFEST} as it was written",
                received=" ".join(str(error).split())[:200],
                do="fetch the bundle again from where it was made",
            ) from error

    @cached_property
    def gaps(self) -> Gaps | None:
        """What was erased since the bundle was sealed; None if nothing was. Raises `Corrupt`."""
        try:
            return gaps_from(self.store.read(GAPS))
        except NotFound:
            return None

    @cached_property
    def erased(self) -> frozenset[str]:
        """Ids of the images, accepted or of an external set, that were erased: their rows hold no
        thumbnail any more."""
        if self.gaps is None:
            return frozenset()
        split, validated = self.record("split"), self.record("validate")
        assert isinstance(split, Split)
        assert isinstance(validated, Validated)
        tables = [self.table("split", split.parts)]
        tables += [self.table("validate", each.kept) for each in validated.external]
        gone = (rows.loc[rows["thumbnail"].isna(), "image_id"].astype(str) for rows in tables)
        return frozenset(name for names in gone for name in names)

    def read(self, path: str) -> bytes:
        """The content of a file. Raises `NotFound`, or `Corrupt` if manifest and gaps differ."""
        data = self.store.read(path)
        named = self.manifest.files.get(path)
        if named and self.gaps and path in self.gaps.files:
            hole = self.gaps.files[path]
            if (hole.was, hole.now) == (named.sha256, sha256(data)):
                return data
        if named is None or (named.sha256, named.size_bytes) != (sha256(data), len(data)):
            raise Corrupt(
                "A file of the evidence is not the one that was sealed.",
                expected=f"{path} with SHA-256 {named.sha256 if named else '(none: not sealed)'}",
                received=f"SHA-256 {sha256(data)}",
                do="do not rely on this bundle; find out who changed it",
            )
        return data

    def record(self, step: str) -> Record:
        """The record of a step.

        Raises:
            BadInput: A later version of the program wrote it.
            Corrupt: It is no record.
        """
        row = next(each for each in STEPS if each.name == step)
        try:
            return row.gives.parsed(self.read(f"{step}/record.json"), f"{step}/record.json")
        except ValidationError as error:
            raise Corrupt(
                f"The record of {step} in the evidence cannot be read.",
                expected=f"a {row.gives.__name__} of this version of the program",
                received=" ".join(str(error).split())[:200],
                do="use the version of the program that environment.json names",
            ) from error

    def ledger(self) -> Chain:
        """The ledger at the verdict. Raises `Corrupt`."""
        named = (path for path in self.manifest.files if path.startswith(LEDGER))
        return parse_chain({CHAIN + path.removeprefix(LEDGER): self.read(path) for path in named})

    def table(self, step: str, artifact: Artifact) -> pd.DataFrame:
        """A table that a record of the bundle vouches for: Parquet, or CSV with cells as text."""
        path = self._path(step, artifact)
        data = self.read(path)
        if path.endswith(".csv"):
            return csv_of(data)
        return pd.read_parquet(io.BytesIO(data))

    def file_of(self, step: str, artifact: Artifact) -> bytes:
        """The bytes of an artifact that a record of the bundle vouches for."""
        return self.read(self._path(step, artifact))

    def rows(self, step: str, artifact: Artifact) -> pd.DataFrame:
        """As `table`, of rows of a manifest: a cell may hold several codes."""
        return parquet_of(self.read(self._path(step, artifact)))

    def _path(self, step: str, artifact: Artifact) -> str:
        placed = places(step, self.record(step))
        return next(path for path, each in placed.items() if each.sha256 == artifact.sha256)


def _walked(folder: Path) -> Iterator[Path]:
    """Everything below a folder except folders; links are not followed."""
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda each: each.name):
            if entry.is_dir(follow_symlinks=False):
                yield from _walked(Path(entry.path))
            else:
                yield Path(entry.path)


def _check_plain_files(root: Path) -> None:
    """Check that a bundle holds only plain files: a link may lead out of the bundle, and reading a
    pipe or a device may never end.

    Raises:
        Corrupt: The bundle holds something else.
    """
    if not root.is_dir():
        return  # without the folder, the missing manifest is reported later
    for path in _walked(root):
        mode = path.lstat().st_mode
        if not stat.S_ISREG(mode):
            kind = "a symbolic link" if stat.S_ISLNK(mode) else "a pipe, socket or device"
            raise Corrupt(
                "The evidence does not hold: it is not made of plain files.",
                expected="a bundle of files and folders",
                received=f"{kind}: {path.relative_to(root).as_posix()!r}",
                do="do not rely on this bundle; find out who changed it, or fetch it again",
            )
