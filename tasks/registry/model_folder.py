"""The folder of a version in MLflow: written by `register`, and compared with what was written.

Whoever loads a version by its name (`mlflow.keras`, `mlflow.pyfunc`, a server) believes the file
``MLmodel`` of this folder: it names the weights and the module that loads them. So the record
`Registered` keeps the SHA-256 of every file, not only of the weights. With a key, the folder holds
a signature by model-signing too.
"""

import json
import secrets
import tempfile
from pathlib import Path
from typing import Any

import yaml

from tasks.engine.folder_signature import sign_folder, why_not_signed
from tasks.engine.quiet import imports_muted
from tasks.engine.signing import keys_here
from tasks.errors import Corrupt
from tasks.records.record import sha256
from tasks.registry.light_form import LIGHT
from tasks.registry.versions import FILES, MODEL, mlflow_module

WEIGHTS = "data/model.keras"
SIGNATURE = "model.sig"  # over all other files, only where there is a key
LOADER = "data/keras_module.txt"  # the module that MLflow's Keras flavor imports
DESCRIPTION = "MLmodel"
# Whoever loads a version of a database beside a store lets MLflow write this file into the folder.
NAME = "registered_model_meta"
# Characters of a version's description in MLflow's tables. PostgreSQL and MySQL refuse a longer
# text; SQLite does not count.
MOST_DESCRIBED = 5000
# What MLflow 3.17 writes. A version that an earlier version of the program registered has the same.
USUAL = {DESCRIPTION, "conda.yaml", "python_env.yaml", "requirements.txt", LOADER, WEIGHTS}


def add_version(
    client: Any,
    *,
    run_id: str,
    model: bytes,
    light: bytes,
    description: str,
    tags: dict[str, str],
) -> tuple[int, dict[str, str]]:
    """Register a ``.keras`` file, byte for byte, as a new version.

    Args:
        client: MLflow's client.
        run_id: The MLflow run of the training; the files go to its artifacts.
        model: The ``.keras`` file.
        light: Its light form, see `tasks.registry.light_form`.
        description: Of the version, in Markdown; see `described`.
        tags: Tags of the version. `FILES` is added.

    Returns:
        The number of the version, and the SHA-256 of each file of its folder, by path inside.
    """
    refusal = mlflow_module("mlflow.exceptions").MlflowException
    # Two attempts may overlap. Neither may overwrite the files that the other has hashed.
    place = f"model/{secrets.token_hex(4)}"
    with tempfile.TemporaryDirectory() as folder:
        written, keys = _written(Path(folder), model), keys_here()
        (written / LIGHT).parent.mkdir()
        (written / LIGHT).write_bytes(light)
        if keys.on:
            (written / SIGNATURE).write_bytes(sign_folder(written, SIGNATURE, keys))
        files = hashes_of(written)
        client.log_artifacts(run_id, str(written), place)
    try:
        client.create_registered_model(MODEL, description="Nine-class skin-lesion classifier")
    except refusal as error:  # of a server or of a database
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    source = f"{client.get_run(run_id).info.artifact_uri}/{place}"
    version = client.create_model_version(
        MODEL,
        source,
        run_id=run_id,
        tags=tags | {FILES: json.dumps(files, sort_keys=True)},
        description=described(description),
    )
    return int(version.version), files


def described(page: str) -> str:
    """As much of a page, by whole lines, as MLflow keeps of a version's description, and where the
    rest is.

    Args:
        page: The page, in Markdown.

    Returns:
        At most `MOST_DESCRIBED` characters.
    """
    if len(page) <= MOST_DESCRIBED:
        return page
    where = "`release/model_card.md`, among the artifacts of the source run"
    rest = f"\n\n**The page goes on** in {where}."
    begun = page[: MOST_DESCRIBED - len(rest)]
    return (begun[: begun.rfind("\n")] if "\n" in begun else begun) + rest


def _written(folder: Path, data: bytes) -> Path:
    """A folder in MLflow's own format, so that `mlflow.keras.load_model` opens the version."""
    with imports_muted():
        import keras
        import numpy as np

        from tasks.model_file import from_bytes

        flavor = mlflow_module("mlflow.keras")
        signature_of = mlflow_module("mlflow.models").ModelSignature
        types = mlflow_module("mlflow.types")

    model = from_bytes(data)
    classes = int(model.output_shape[-1])
    floats = np.dtype("float32")
    signature = signature_of(
        inputs=types.Schema([types.TensorSpec(floats, (-1, -1, -1, 3), "rgb_0_to_255")]),
        outputs=types.Schema([types.TensorSpec(floats, (-1, classes))]),
    )
    path = folder / "model"
    flavor.save_model(
        model,
        str(path),
        signature=signature,
        pip_requirements=[f"keras=={keras.__version__}", "tensorflow-cpu"],
    )
    # MLflow saves the model anew, with new time stamps, but the record vouches for these bytes.
    (path / WEIGHTS).write_bytes(data)
    return path


def hashes_of(folder: Path) -> dict[str, str]:
    """SHA-256 of each file below a folder, by path inside the folder, in order."""
    return {
        path.relative_to(folder).as_posix(): sha256(path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if not path.is_dir()
    }


def check_folder(folder: Path, what: str, model_sha256: str, files: dict[str, str]) -> str:
    """Compare a downloaded folder with what was registered.

    Args:
        folder: The folder of the version, downloaded.
        what: The version, for the message.
        model_sha256: SHA-256 of the ``.keras`` file that was judged.
        files: The record's SHA-256 of each file, by path; empty for a version that an earlier
            version of the program registered.

    Returns:
        What was compared, in words.

    Raises:
        Corrupt: A file was added, removed or changed, or ``MLmodel`` names another model.
    """
    found = hashes_of(folder)
    if NAME in found and _is_a_name(folder / NAME):
        del found[NAME]
    check_weights(found, what, model_sha256)
    for path in sorted(set(files or USUAL) ^ set(found)):
        raise _other_folder(
            what,
            f"{len(files or USUAL)} files, as registered",
            f"{path} was {'added' if path in found else 'removed'}",
        )
    for path in sorted(path for path in files if files[path] != found[path]):
        raise _other_folder(what, f"{path} with SHA-256 {files[path]}", found[path])
    _check_description(folder, what)
    if files:
        return f"the {len(files)} files that MLflow serves are those that were registered"
    return (
        f"the {len(found)} files that MLflow serves are those that such a version has, and its "
        "weights those that were judged; an earlier version of the program registered it, which "
        "kept no hash of the other files"
    )


def check_signature(folder: Path, what: str) -> str:
    """Check that an accepted key signed a downloaded folder, if there is a key.

    Args:
        folder: The folder of the version.
        what: The version, for the message.

    Returns:
        Who signed the folder, in words; empty without a key.

    Raises:
        Corrupt: There is a key, and no accepted key signed these files.
    """
    keys = keys_here()
    if not keys.on:
        return ""
    besides = (NAME,) if (folder / NAME).is_file() and _is_a_name(folder / NAME) else ()
    why, fingerprint = why_not_signed(folder, SIGNATURE, keys, besides)
    if why:
        raise _other_folder(what, f"{SIGNATURE}, by a key that is accepted here", why)
    return f"the model is signed by the key SHA-256 {fingerprint}"


def _is_a_name(path: Path) -> bool:
    """Whether a file says a model's name and version, and no more, as MLflow writes it."""
    try:
        said = yaml.safe_load(path.read_bytes()[:1000])
        return bool(said.keys() == {"model_name", "model_version"} and said["model_name"] == MODEL)
    except (yaml.YAMLError, AttributeError, ValueError, OSError):
        return False


def check_weights(found: dict[str, str], what: str, model_sha256: str) -> None:
    """Check that a folder's weights are those that were judged.

    Args:
        found: SHA-256 of each file of the folder, by path inside.
        what: The version, for the message.
        model_sha256: SHA-256 of the ``.keras`` file that was judged.

    Raises:
        Corrupt: They are others, or are not there.
    """
    if found.get(WEIGHTS) != model_sha256:
        raise Corrupt(
            f"{what} is not the model that was registered.",
            expected=f"{WEIGHTS} with SHA-256 {model_sha256}",
            received=f"SHA-256 {found[WEIGHTS]}" if WEIGHTS in found else "no such file",
            do="find out who changed MLflow's artifact",
        )


def _check_description(folder: Path, what: str) -> None:
    """Check that ``MLmodel`` lets MLflow load `WEIGHTS` with Keras, and nothing else."""
    try:
        flavors = yaml.safe_load((folder / DESCRIPTION).read_bytes())["flavors"]
        keras, loader = dict(flavors["keras"]), dict(flavors["python_function"])
        module = (folder / LOADER).read_text()
    except (yaml.YAMLError, KeyError, TypeError, ValueError, OSError, RecursionError) as error:
        raise _other_folder(
            what, f"{DESCRIPTION} as MLflow writes it", f"{type(error).__name__}: {error}"
        ) from error
    said = {
        "flavors": sorted(flavors),
        "data": keras.get("data"),
        "save_exported_model": keras.get("save_exported_model", False),
        "code": keras.get("code") or loader.get("code"),
        "loader_module": loader.get("loader_module"),
        "data of python_function": loader.get("data"),
        "keras module": module,
    }
    usual = {
        "flavors": ["keras", "python_function"],
        "data": "data",
        "save_exported_model": False,
        "code": None,
        "loader_module": "mlflow.keras",
        "data of python_function": None,
        "keras module": "keras",
    }
    for name in usual:
        if said[name] != usual[name]:
            raise _other_folder(what, f"{name} {usual[name]}", f"{name} {said[name]}"[:300])


def _other_folder(what: str, expected: str, received: str) -> Corrupt:
    return Corrupt(
        f"{what} is not the folder that was registered.",
        expected=expected,
        received=received,
        do="find out who changed MLflow's artifacts; register the run again",
    )
