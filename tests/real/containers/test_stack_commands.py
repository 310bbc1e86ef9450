"""What stack.sh refuses, by its words, its settings and the answers of an engine that is none."""

import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.fake_compose import FakeStack
from tests.support.missing import lacking


@pytest.fixture
def stack(tmp_path: Path) -> FakeStack:
    if subprocess.run(["sh", "-c", "command -v openssl"], capture_output=True).returncode:
        lacking("no openssl", install="apt-get install openssl")
    return FakeStack(tmp_path)


# Words -----------------------------------------------------------------------------------------


UNKNOWN = [
    *(["destroy", word] for word in ("--keep-data", "--help", "")),
    *(["up", word] for word in ("--tsl", "--help", "", "tls")),
    *(["up", "--tls", "--tls"], ["stop", "--foo"], ["secrets", "again"]),
    *([command, *words] for command in ("backup", "restore") for words in ([], [""], ["--help"])),
    *([command, "one", "two"] for command in ("backup", "restore")),
    *([word] for word in ("", "--help", "remove", "made", "start")),
]


def test_words_that_a_command_does_not_know_are_refused_before_anything_runs(
    stack: FakeStack,
) -> None:
    stack("up").done()
    stack.calls()
    before = stack.state()

    for argv in UNKNOWN:
        assert "Expected: " in stack(*argv).refused(), argv
        assert stack.calls() == [], argv
        assert stack.state() == before, argv


def test_the_words_of_each_command_are_known(stack: FakeStack) -> None:
    stack().done()
    assert "up --detach" in stack.calls()
    stack("up", "--tls").done()
    assert "--profile tls up --detach" in stack.calls()
    stack("tasks", "deliver", "--store", "s3://a/b").done()
    stack("compose", "logs", "--tail", "3").done()
    stack("stop").done()
    stack("secrets").done()
    stack("destroy").done()
    assert stack.calls() == [
        "run --rm tasks deliver --store s3://a/b",
        "logs --tail 3",
        "--profile tls stop",
        "--profile tls down --volumes",
    ]


def test_a_delivery_is_a_folder_of_this_machine(stack: FakeStack) -> None:
    stack("up").done()
    stack.calls()
    for wrong in ("missing", "a:b", str(stack.engine)):
        assert "DELIVERY" in stack("tasks", "deliver", DELIVERY=wrong).refused()
    assert stack.calls() == []

    (stack.home / "my images").mkdir()
    stack("tasks", "deliver", DELIVERY="my images").done()
    assert stack.calls() == [f"run --rm --volume {stack.home}/my images:/delivery:ro tasks deliver"]


# Settings --------------------------------------------------------------------------------------

LINE = "\nMELANOMA_SECRETS=/etc"
WRONG = {
    "PROJECT": ["Bad Name!", "Melanoma", "-x", "a" + LINE, "a\n"],
    "MELANOMA_HOST": ["kl/inik,x", "a b", "h" + LINE, "h\n", "-h", "$HOME"],
    "MELANOMA_TAG": ["a b", "-a", "a" + LINE],
    "MELANOMA_REGISTRY": ["registry.example", "a b/"],
    "POSTGRES_IMAGE": ["postgres 17", "a" + LINE],
    "AIRFLOW_PORT": ["http", "0", "65536", "80 80"],
    "APP_TLS_PORT": ["localhost:443", "99999"],
    "AIRFLOW_URL": ["derma.example", "http://a b", "https://a:b@c"],
    "S3_URL": ["s3:8000"],
    "S3_BYTES": ["10g", "-1"],
    "MELANOMA_STORE": ["/data", "s3://", "s3://a b/c", "s3://x/y" + LINE],
    "MLFLOW_ARTIFACTS": ["mlflow"],
    "SECONDS_TO_START": ["soon", "010"],
}


@pytest.mark.parametrize("name", WRONG)
def test_a_setting_of_another_form_is_refused_and_not_written(stack: FakeStack, name: str) -> None:
    for value in WRONG[name]:
        assert name in stack("up", **{name: value}).refused(), value
        assert stack.state() == {}, value


def test_settings_of_the_right_form_are_kept(stack: FakeStack) -> None:
    right = {
        "MELANOMA_HOST": "derma.klinik-1.example",
        "MELANOMA_TAG": "v1.2_rc-3",
        "MELANOMA_REGISTRY": "registry.example:5000/derma/",
        "POSTGRES_IMAGE": "melanoma/postgres@sha256:" + "ab" * 32,
        "AIRFLOW_PORT": "65535",
        "APP_TLS_PORT": "10.0.0.5:443",
        "AIRFLOW_URL": "https://derma.example:8443/air",
        "S3_URL": "http://[::1]:8000",
        "S3_REGION": "eu-central-1",
        "S3_BYTES": "107374182400",
        "MELANOMA_STORE": "s3://derma/a/b",
    }
    stack("up", PROJECT="melanoma-2_x", **right).done()

    own = {"COMPOSE_PROJECT_NAME": "melanoma-2_x", "MELANOMA_SECRETS": str(stack.secrets)}
    assert stack.settings() == right | own


@pytest.mark.parametrize("name", ["s t&x|y", "Jürgen", r"a'b", 'a"b', "a$b", "a\\b", "a#b", "a\nb"])
def test_a_folder_of_any_name_is_kept_as_it_is_or_refused(stack: FakeStack, name: str) -> None:
    stack.folder = stack.home / name
    said = stack("up")

    if name in ("s t&x|y", "Jürgen"):
        said.done()
        assert stack.settings()["MELANOMA_SECRETS"] == f"{stack.home}/{name}/secrets"
    else:
        assert "STACK" in said.refused()
        assert stack.state() == {}


def test_the_file_of_settings_stands_over_the_shell_and_says_so(stack: FakeStack) -> None:
    stack("up", MELANOMA_STORE="s3://derma/store").done()

    said = stack("tasks", "ledger", MELANOMA_STORE="s3://another/x", MLFLOW_ARTIFACTS="s3://b/c")
    assert "MELANOMA_STORE of the shell is not used" in said.done()
    assert "MLFLOW_ARTIFACTS of the shell is not used" in said.words
    assert {"MELANOMA_STORE", "MLFLOW_ARTIFACTS"} & set(stack.asked_with()) == set()
    said = stack("tasks", "ledger", MELANOMA_STORE="s3://derma/store", WORKER_SLOTS="3")
    assert "not used" not in said.done()
    assert stack.asked_with()["WORKER_SLOTS"] == "3"


@pytest.mark.parametrize("left", ["", "MELANOMA_HOST=localhost\n", "COMPOSE_PROJECT_NAME=A B\n"])
def test_settings_without_a_name_of_the_project_are_used_for_nothing(
    stack: FakeStack, left: str
) -> None:
    """Compose would take the name of the folder, and `destroy` the volumes of another stack."""
    stack("up").done()
    stack.calls()
    (stack.folder / "environment").write_text(left)
    for argv in (["stop"], ["destroy"], ["tasks"], ["compose", "ps"], ["backup", "b"]):
        stack(*argv).refused()
    assert stack.calls() == []

    if left:
        stack("up").refused()
    else:  # what an interrupted start left behind
        stack("up").done()
        assert stack.settings()["COMPOSE_PROJECT_NAME"] == "melanoma"


# Secrets ---------------------------------------------------------------------------------------


def tools_without(stack: FakeStack, *missing: str) -> str:
    """A PATH with what the script calls, but for some."""
    folder = stack.home / "engine" / f"without {missing}"
    folder.mkdir()
    for place in reversed(os.environ["PATH"].split(os.pathsep)):
        for path in Path(place).glob("*"):
            if path.name not in missing:
                (folder / path.name).unlink(missing_ok=True)
                (folder / path.name).symlink_to(path)
    return str(folder)


@pytest.mark.parametrize("tool", ["openssl", "od", "base64"])
def test_a_secret_that_cannot_be_made_is_told_and_made_at_the_next_start(
    stack: FakeStack, tool: str
) -> None:
    said = stack("up", PATH=tools_without(stack, tool))
    assert tool in said.refused()
    assert "up --detach" not in stack.calls()
    assert all(path.stat().st_size for path in stack.secrets.glob("*")), "an empty secret"

    stack("up").done()
    assert all(path.stat().st_size for path in stack.secrets.iterdir())
    assert "PRIVATE KEY" in (stack.secrets / "tls_key").read_text()
    assert not list(stack.secrets.glob(".*"))


def test_what_openssl_refuses_is_told_in_its_words(stack: FakeStack) -> None:
    """A common name has 64 letters at most."""
    said = stack("up", MELANOMA_HOST="a" * 70)

    assert "string too long" in said.refused()
    assert not (stack.secrets / "tls_certificate").exists()


def test_empty_secrets_of_an_earlier_failure_are_made_anew(stack: FakeStack) -> None:
    stack("up").done()
    before = stack.state()
    empty = ("tls_certificate", "tls_key", "app_users")
    for name in empty:
        (stack.secrets / name).unlink()
        (stack.secrets / name).touch(0o444)
    partial = stack.secrets / ".app_users.partial"
    partial.touch(0o444)  # of a start that was killed

    stack("secrets").done()
    after = stack.state()
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {f"stack/secrets/{name}" for name in empty}
    assert not partial.exists()


def test_half_a_certificate_is_not_completed_by_another_key(stack: FakeStack) -> None:
    stack("up").done()
    (stack.secrets / "tls_key").unlink()
    assert "tls_certificate alone" in stack("up").refused()

    own = {"tls_certificate": "of the house", "tls_key": "of the house, too"}
    for name, text in own.items():
        (stack.secrets / name).unlink(missing_ok=True)
        (stack.secrets / name).write_text(text)
    stack("up").done()
    assert {name: (stack.secrets / name).read_text() for name in own} == own


def certificate(stack: FakeStack, name: str, days: int = 2) -> None:
    """Put a certificate of the house in the place of the stack's own."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    house = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "house")])
    made = x509.CertificateBuilder(house, house, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - timedelta(days=9)).not_valid_after(now + timedelta(days))
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    pem = serialization.Encoding.PEM
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    for file, data in (
        ("tls_certificate", made.sign(key, hashes.SHA256()).public_bytes(pem)),
        ("tls_key", key.private_bytes(pem, *plain)),
    ):
        (stack.secrets / file).unlink(missing_ok=True)
        (stack.secrets / file).write_bytes(data)


@pytest.mark.parametrize(
    ("name", "days", "told"),
    [
        ("derma.hospital.example", 2, None),
        ("*.hospital.example", 2, None),
        ("localhost", 2, "does not hold this name"),
        ("derma.hospital.example.org", 2, "does not hold this name"),
        ("derma.hospital.example", -1, "ended: notAfter"),
    ],
)
def test_the_proxy_starts_with_a_certificate_for_its_name_alone(
    stack: FakeStack, name: str, days: int, told: str | None
) -> None:
    stack("secrets", MELANOMA_HOST="derma.hospital.example").done()
    certificate(stack, name, days)
    said = stack("up", "--tls")
    if told is None:
        said.done()
    else:
        assert told in said.refused()
        assert "up --detach" not in stack.calls()
        stack("up").done()  # needs no certificate


@pytest.mark.parametrize(("host", "other"), [("10.0.0.5", "10.0.0.6"), ("derma", "10.0.0.5")])
def test_the_stack_s_own_certificate_is_for_its_name_or_address(
    stack: FakeStack, host: str, other: str
) -> None:
    stack("secrets", MELANOMA_HOST=host).done()
    stack("up", "--tls").done()
    settings = stack.secrets.parent / "environment"
    settings.write_text(settings.read_text().replace(f"HOST={host}", f"HOST={other}"))
    assert "does not hold this name" in stack("up", "--tls").refused()


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("tls_certificate", "of the house", "a certificate that is not in PEM"),
        ("tls_certificate", "-----BEGIN CERTIFICATE-----\nAA==", "certificate"),
        ("tls_key", "of the house", "a key that is not in PEM"),
        ("tls_key", "-----BEGIN PRIVATE KEY-----\nAA==", "a key: "),
        ("tls_key", None, "a key of another certificate"),
    ],
)
def test_the_proxy_refuses_what_nginx_would_refuse(
    stack: FakeStack, file: str, text: str | None, told: str
) -> None:
    stack("secrets").done()
    if text is None:
        before = (stack.secrets / "tls_certificate").read_text()
        certificate(stack, "localhost")
        (stack.secrets / "tls_certificate").write_text(before)
    else:
        (stack.secrets / file).unlink()
        (stack.secrets / file).write_text(text)
    assert told in stack("up", "--tls").refused()
    assert "up --detach" not in stack.calls()


def test_the_proxy_refuses_a_certificate_that_openssl_alone_can_read(stack: FakeStack) -> None:
    stack("secrets").done()
    path = stack.secrets / "tls_certificate"
    binary = x509.load_pem_x509_certificate(path.read_bytes())
    path.unlink()
    path.write_bytes(binary.public_bytes(serialization.Encoding.DER))
    assert "not in PEM" in stack("up", "--tls").refused()


# Health ----------------------------------------------------------------------------------------


def test_an_engine_that_does_not_answer_is_not_healthy(stack: FakeStack) -> None:
    said = stack("up", FAIL=" ps --quiet")

    assert said.code == 75
    assert "the engine says no" in said.words
    assert "The engine does not answer." in said.words
    assert "http://" not in said.words


@pytest.mark.parametrize(
    "answer",
    [
        {"NONE": "yes"},
        {"FAIL": "inspect"},
        *(
            {"STATE": f"/x {state}"}
            for state in ("running/starting/0", "running/unhealthy/0", "exited//1", "restarting//0")
        ),
    ],
    ids=str,
)
def test_what_is_not_healthy_in_time_is_told(stack: FakeStack, answer: dict[str, str]) -> None:
    said = stack("up", **answer)

    assert said.code == 75
    assert "Not healthy in time" in said.words
    assert "http://" not in said.words


@pytest.mark.parametrize("state", ["running/healthy/0", "running//0", "exited//0"])
def test_what_is_healthy_or_has_ended_well_is_ready(stack: FakeStack, state: str) -> None:
    assert "http://127.0.0.1:8200" in stack("up", STATE=f"/x {state}").done()
