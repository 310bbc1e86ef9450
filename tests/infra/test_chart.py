"""The values of Airflow's chart fit the overlay `cloud`, the image and the code.

The chart cannot be fetched where these tests run, so no template is rendered. What its templates do
with the values was read: they pass whole commands to the image, `bash -c "exec airflow scheduler"`;
probes call /entrypoint; a ServiceAccount that the chart does not make is not changed by it.
"""

import copy
import os
import re
import stat
import subprocess
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from dags.store import READER
from infra.s3_policy import bucket_policy
from tasks.engine.signing import keys_here
from tasks.errors import BadInput
from tests.support.keys import pair_in, use
from tests.support.manifests import of_kind, pods_of, rendered
from tests.support.paths import ROOT

TEXT = (ROOT / "infra/helm/airflow.yaml").read_text()
VALUES: dict[str, Any] = yaml.safe_load(TEXT)
ENTRYPOINT = ROOT / "containers/entrypoint.sh"
COMPONENTS = ("scheduler", "apiServer", "dagProcessor", "triggerer")


def settings() -> dict[str, str]:
    (found,) = [each for each in of_kind(rendered("cloud"), "ConfigMap")
                if each["metadata"]["name"] == "melanoma-settings"]  # fmt: skip
    data: dict[str, str] = found["data"]
    return data


def test_the_chart_gets_the_secrets_and_settings_that_stand_here() -> None:
    maps = {each["metadata"]["name"] for each in of_kind(rendered("cloud"), "ConfigMap")}
    named = set(re.findall(r"configMap(?:Ref)?: \{name: ([\w-]+)\}", TEXT))

    assert named == {"melanoma-settings", "melanoma-scripts"} <= maps
    assert VALUES["executor"] == "LocalExecutor"
    assert VALUES["images"]["airflow"]["pullPolicy"] == "IfNotPresent"
    assert not VALUES["rbac"]["create"]


# The image ----------------------------------------------------------------------------------------


def started(tmp_path: Path, *argv: str) -> list[str]:
    """What the entrypoint starts: the program, and its arguments."""
    for name in ("airflow", "bash", "python"):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\nprintf "%s\\n" {name} "$@"\n')
        program.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(
        [ENTRYPOINT, *argv], env={"PATH": path}, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("argv", "program"),
    [
        (["bash", "-c", "exec airflow scheduler"], []),
        (["airflow", "db", "check-migrations", "--migration-wait-timeout=60"], []),
        (["airflow", "jobs", "check", "--job-type", "SchedulerJob", "--local"], []),
        (["python", "-Wignore", "-c", "import airflow"], []),
        (["scheduler", "--skip-serve-logs"], ["airflow"]),
        (["celery", "worker", "--queues", "small,large"], ["airflow"]),
        (["db", "migrate"], ["airflow"]),
        ([], ["airflow"]),
        (["version", "two words"], ["airflow"]),
    ],
)
def test_the_image_takes_commands_of_airflow_and_whole_ones(
    argv: list[str], program: list[str], tmp_path: Path
) -> None:
    assert started(tmp_path, *argv) == [*program, *argv]


def test_a_whole_command_is_not_taken_for_one_of_airflow(tmp_path: Path) -> None:
    """Airflow knows no command of these names, so none is hidden."""
    from airflow.cli import cli_parser

    whole = re.findall(r"^([a-z |]+)\) exec \"\$@\"", ENTRYPOINT.read_text(), re.MULTILINE)[0]

    assert not set(whole.split(" | ")) & set(cli_parser.ALL_COMMANDS_DICT)
    assert "scheduler" in cli_parser.ALL_COMMANDS_DICT


def test_the_image_has_it_where_probes_call_it() -> None:
    file = (ROOT / "containers/airflow.Dockerfile").read_text()

    assert "COPY containers/entrypoint.sh /entrypoint\n" in file
    assert re.findall(r"^ENTRYPOINT .*", file, re.MULTILINE) == ['ENTRYPOINT ["/entrypoint"]']
    assert stat.S_IMODE(ENTRYPOINT.stat().st_mode) & 0o111 == 0o111


def ignored(source: str, rules: str) -> bool:
    """Whether a build does not see a file: all is ignored but what a line lets through."""
    through = [line[1:] for line in rules.splitlines() if line.startswith("!")]
    return not any(fnmatch(source, each) for each in through)


def test_the_engine_sees_what_images_copy() -> None:
    rules = (ROOT / ".dockerignore").read_text()
    copied = {
        source
        for file in (ROOT / "containers").glob("*.Dockerfile")
        for sources in re.findall(r"^COPY ([^-\n].*) \S+$", file.read_text(), re.MULTILINE)
        for source in sources.split()
    }

    assert {source for source in copied if ignored(source, rules)} == set()
    assert "containers/entrypoint.sh" in copied
    assert "*" in rules.splitlines()
    assert ignored("containers/entrypoint.sh", "*\n!containers/install.sh")


def test_no_container_runs_a_script_that_is_not_in_our_image() -> None:
    """The log groomer, on by default, starts /clean-logs of Airflow's own image."""
    for component in set(COMPONENTS) - {"apiServer"}:
        assert VALUES[component]["logGroomerSidecar"] == {"enabled": False}


# Rights -------------------------------------------------------------------------------------------


def test_the_scheduler_alone_gets_a_token() -> None:
    accounts = {
        each["metadata"]["name"]: each["automountServiceAccountToken"]
        for each in of_kind(rendered("cloud"), "ServiceAccount")
    }
    ours = [pod["spec"].get("serviceAccountName") for _, pod in pods_of(rendered("cloud"))]

    assert accounts == {"melanoma-airflow": True, "melanoma-step": False}
    assert VALUES["scheduler"]["serviceAccount"] == {"create": False, "name": "melanoma-airflow"}
    assert "melanoma-airflow" not in ours
    for component in set(COMPONENTS) - {"scheduler"}:
        assert VALUES[component]["serviceAccount"] == {"automountServiceAccountToken": False}
    (of_trial,) = [each for each in of_kind(rendered("trial"), "ServiceAccount")
                   if each["metadata"]["name"] == "melanoma-airflow"]  # fmt: skip
    assert of_trial["automountServiceAccountToken"] is False


# Keys ---------------------------------------------------------------------------------------------


def files_of(component: str, values: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """The files of secrets in a component: secret and key by path."""
    own = values[component]
    volumes = [*values["volumes"], *own.get("extraVolumes", ())]
    mounts = {each["name"]: each for each in [*values["volumeMounts"],
                                              *own.get("extraVolumeMounts", ())]}  # fmt: skip
    found = {}
    for volume in (each for each in volumes if "secret" in each):
        folder = mounts[volume["name"]]["mountPath"]
        secret = volume["secret"]
        items = secret.get("items", [{"key": "credentials", "path": "credentials"}])
        for item in items:
            path = folder if "subPath" in mounts[volume["name"]] else f"{folder}/{item['path']}"
            found[path] = (secret["secretName"], item["key"])
    return found


def without_a_key(values: dict[str, Any], told: dict[str, str]) -> Iterator[str]:
    """What of Airflow cannot do its part in a signed store."""
    if not told.get("MELANOMA_SIGNING_SECRET"):
        return
    secret = told["MELANOMA_SIGNING_SECRET"]
    for component in COMPONENTS:
        every = [*values["env"], *values[component].get("env", ())]
        env = {each["name"]: each["value"] for each in every}
        files = files_of(component, values)
        if files.get(env.get("MELANOMA_PUBLIC_KEY", "")) != (secret, "public-keys.pem"):
            yield f"{component} does not verify"
        signs = files.get(env.get("MELANOMA_SIGNING_KEY", "")) == (secret, "signing-key.pem")
        if signs != (component == "scheduler"):
            yield f"{component} {'signs' if signs else 'does not sign'}"


def test_who_writes_an_answer_signs_and_all_verify() -> None:
    assert list(without_a_key(VALUES, settings())) == []
    assert settings()["MELANOMA_SIGNING_FILES"] == "signing-key.pem,public-keys.pem"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda values: values["scheduler"].pop("env"), ["scheduler does not sign"]),
        (lambda values: values["scheduler"].pop("extraVolumes"), ["scheduler does not sign"]),
        (
            lambda values: values["triggerer"].update(
                {name: values["scheduler"][name]
                 for name in ("env", "extraVolumes", "extraVolumeMounts")}
            ),
            ["triggerer signs"],
        ),
        (
            lambda values: values["env"].pop(),
            [f"{component} does not verify" for component in COMPONENTS],
        ),
    ],
)  # fmt: skip
def test_who_lacks_a_key_would_be_found(
    change: Callable[[dict[str, Any]], Any], told: list[str]
) -> None:
    values = copy.deepcopy(VALUES)
    change(values)

    assert list(without_a_key(values, settings())) == told
    assert list(without_a_key(values, {})) == []  # where steps do not sign, nobody needs to


@pytest.mark.parametrize(("others", "taken"), [(0o000, True), (0o004, False)])
def test_the_key_has_a_mode_that_the_program_takes(
    others: int, taken: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (volume,) = VALUES["scheduler"]["extraVolumes"]
    key = pair_in(tmp_path / "keys").private
    key.chmod(volume["secret"]["defaultMode"] | others)
    use(monkeypatch, private=key)

    if taken:
        assert keys_here().private
        return
    with pytest.raises(BadInput, match="0444"):
        keys_here()


def test_the_app_of_a_signed_store_verifies() -> None:
    app = next(pod for name, pod in pods_of(rendered("cloud")) if name == "app")
    (container,) = app["spec"]["containers"]
    env = {each["name"]: each["value"] for each in container["env"]}
    (folder,) = [each["mountPath"] for each in container["volumeMounts"] if each["name"] == "keys"]
    (volume,) = [each["secret"] for each in app["spec"]["volumes"] if each["name"] == "keys"]

    assert env["MELANOMA_PUBLIC_KEY"] == f"{folder}/public-keys.pem"
    assert volume["secretName"] == settings()["MELANOMA_SIGNING_SECRET"]
    assert [item["key"] for item in volume["items"]] == ["public-keys.pem"]


def allows(statements: list[dict[str, Any]], user: str, action: str, key: str) -> bool:
    """Whether a policy lets a user do this with a key of the store."""
    effects = [
        each["Effect"]
        for each in statements
        if f"arn:aws:iam:::user/melanoma-{user}" in each["Principal"]["AWS"]
        and f"s3:{action}" in each["Action"]
        and any(
            re.fullmatch(re.escape(resource).replace(r"\*", ".*"), f"arn:aws:s3:::bucket/{key}")
            for resource in each["Resource"]
        )
    ]
    return "Allow" in effects and "Deny" not in effects


def test_airflow_has_the_key_of_a_user_who_may_write_answers() -> None:
    """The secret `melanoma-store` holds the key of `promote`; that of a reader does not do."""
    from dags.decision import WRITER

    statements = bucket_policy("bucket", "")["Statement"]
    answer = "ledger/promotions/000001.json"

    assert allows(statements, WRITER, "PutObject", answer)
    assert allows(statements, WRITER, "GetObject", answer)
    assert not allows(statements, READER, "PutObject", answer)
    assert f"the user `{WRITER}`" in TEXT
