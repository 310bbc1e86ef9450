"""The champion: the model in use, as the ledger of promotions says, loaded from MLflow.

MLflow's alias ``champion`` is for people and for other programs. Nothing here believes the alias:
whoever reaches MLflow can move it. An alias that differs from the ledger is reported.
"""

import json
import logging
from typing import Any

from pydantic import ValidationError

from tasks.engine.ledger import Chain, next_entry
from tasks.engine.run import Run, latest_key
from tasks.engine.signing import Keys, keys_here, not_signed
from tasks.engine.store import Store
from tasks.errors import BadInput, Corrupt, NotFound
from tasks.records.record import LedgerHead
from tasks.registry.promotions import (
    FOLDER,
    Adoption,
    Model,
    Promotions,
    append,
    promotions_in,
)
from tasks.registry.versions import (
    CHAMPION,
    GONE,
    MODEL,
    Version,
    described,
    mlflow_client,
    mlflow_module,
)

log = logging.getLogger(__name__)

PROMOTIONS_HEAD = "promotions_head"  # tag: a `LedgerHead` in JSON
NOTE = latest_key("promote")  # where earlier versions of the program noted the champion


def promotions_of(client: Any, store: Store, keys: Keys | None = None) -> Promotions:
    """The ledger of promotions of a store, checked against the heads that MLflow holds.

    A store from before the ledger gives a ledger whose last entry is not written yet and names the
    champion; see `adopt`.

    Raises:
        BadInput: A champion was promoted before the ledger, and is gone from MLflow.
        Corrupt: The ledger is damaged, or was cut short; or there is a key, and what it says is not
            signed.
    """
    keys = keys or keys_here()
    found = promotions_in(store, _heads(client, store), keys)
    if found.about_models:
        return found
    adopted = _adopted(client, store)
    if adopted is None:
        return found
    if keys.on:
        raise not_signed(f"The note {NOTE}, which names the champion,", "no signature", store.uri)
    entry = next_entry(found.chain, "adoption", "", adopted.model_dump(mode="json"), FOLDER)
    chain = Chain((*found.chain.entries, entry), adopted=False)
    return Promotions(chain, (*found.facts, adopted))


def adopt(client: Any, store: Store, keys: Keys | None = None) -> Promotions:
    """The ledger of promotions, to be appended to: the champion of a store from before the ledger
    is written down first. Raises as `promotions_of`."""
    now = promotions_of(client, store, keys)
    if now.chain.adopted:
        return now
    adopted = now.facts[-1]
    return append(store, "", lambda then: None if then.about_models else adopted, keys)


def champion(client: Any, store: Store) -> Version | None:
    """The model in use; None if no model was ever promoted.

    Raises:
        BadInput: MLflow no longer holds the version.
        Corrupt: The ledger is damaged.
    """
    said = promotions_of(client, store).champion
    report_alias(client, said)
    return version_of(client, said) if said else None


def version_of(client: Any, said: Model) -> Version:
    """A version of the ledger, with the address from which MLflow serves it.

    Raises:
        BadInput: MLflow no longer holds the version.
    """
    refusal = mlflow_module("mlflow.exceptions").MlflowException
    try:
        found = client.get_model_version(MODEL, str(said.version))
    except refusal as error:
        if error.error_code not in GONE:
            raise
        raise BadInput(
            "The model in use is gone from MLflow.",
            expected=f"version {said.version} of {MODEL}, of run {said.run}, which was promoted",
            received="no such version: it, or the registered model, was deleted",
            do="restore MLflow from a backup, or promote another version",
        ) from error
    return Version(
        number=said.version,
        run=said.run,
        model_sha256=said.model_sha256,
        threshold=said.threshold,
        classes=said.classes,
        source=str(found.source),
        evidence=f"{said.run}/evidence" if said.evidence_sha256 else None,
        evidence_sha256=said.evidence_sha256,
    )


def report_alias(client: Any, said: Model | None) -> str:
    """Compare the alias with the ledger; returns the difference in words, empty if there is none.

    A difference is logged as a warning.
    """
    held = alias_of(client, CHAMPION)
    if held == (said.version if said else None):
        return ""
    there = f"on version {held}" if held else "on no version"
    wanted = f"version {said.version} is" if said else "no model is"
    told = (
        f"The alias {CHAMPION} in MLflow is {there}, but by the ledger of promotions {wanted} in "
        "use. The ledger counts. `python -m tasks ledger --repair` sets the alias right; to put a "
        "version into use, have it approved (`python -m tasks decide`, or melanoma_promotion)."
    )
    log.warning("%s", told)
    return told


def alias_of(client: Any, alias: str) -> int | None:
    """The version that holds an alias, or None."""
    refusal = mlflow_module("mlflow.exceptions").MlflowException
    try:
        return int(client.get_model_version_by_alias(MODEL, alias).version)
    except refusal as error:
        if error.error_code not in GONE:
            raise
        return None


def outside_state(run: Run) -> str:
    """The champion, and all that is read of it, since the code that reads it counts in no step's
    hash; empty if there is none."""
    with mlflow_client(run.store) as client:
        version = champion(client, run.store)
    if version is None:
        return ""
    read = (version.number, version.model_sha256, version.threshold, version.classes, version.run)
    return json.dumps(read)


def _heads(client: Any, store: Store) -> tuple[LedgerHead, ...]:
    """The heads of the ledger of promotions in the tags of this store's versions."""
    found = client.search_model_versions(f"name = '{MODEL}'")
    own = [each for each in found if each.tags.get("run", "").startswith(f"{store.uri}/runs/")]
    try:
        return tuple(
            LedgerHead.model_validate_json(each.tags[PROMOTIONS_HEAD])
            for each in own
            if PROMOTIONS_HEAD in each.tags
        )
    except ValidationError as error:
        raise Corrupt(
            f"A version of {MODEL} does not name the head of the ledger of promotions.",
            expected=f"the tag {PROMOTIONS_HEAD} as promote wrote it",
            received=" ".join(str(error).split())[:200],
            do="find out who changed the tags in MLflow",
        ) from error


def _adopted(client: Any, store: Store) -> Adoption | None:
    """The champion that an earlier version of the program noted; None without a note."""
    try:
        note = json.loads(store.read(NOTE))
        number, sha, run = int(note["version"]), str(note["model_sha256"]), str(note["run"])
    except NotFound:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(
            "It is not known which model is in use.",
            expected=f"{NOTE} as an earlier version of the program wrote it",
            received=" ".join(str(error).split())[:200],
            do=f"restore {NOTE} from a backup; if no model shall be in use, remove it",
        ) from error
    refusal = mlflow_module("mlflow.exceptions").MlflowException
    try:
        found = described(client.get_model_version(MODEL, str(number)))
    except refusal as error:
        if error.error_code not in GONE:
            raise
        raise BadInput(
            "The model in use is gone from MLflow.",
            expected=f"version {number} of {MODEL}, of run {run}, which was promoted",
            received="no such version: it, or the registered model, was deleted",
            do=f"restore MLflow from a backup; if no model shall be in use, remove {NOTE} from the "
            "store: the next model is then compared with none",
        ) from error
    model = Model(
        version=number,
        run=found.run,
        model_sha256=sha,
        threshold=found.threshold,
        classes=found.classes,
        evidence_sha256=found.evidence_sha256,
    )
    why = "promoted by an earlier version of the program, which noted nobody's approval"
    return Adoption(after=model, why=why)
