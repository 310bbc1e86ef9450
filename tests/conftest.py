"""The stores that the tests run on: a directory, moto's S3 server, and a real one (radosgw).

Servers start when the first test asks for them and end with the session, also a failed one.
"""

import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tasks.engine.storage import Store, open_store

CEPH_PACKAGES = ("ceph-mon", "ceph-mgr", "ceph-osd", "ceph-common", "radosgw")
CEPH_PROGRAMS = ("ceph-mon", "ceph-mgr", "ceph-osd", "ceph", "radosgw", "radosgw-admin")
# A machine that is busy with something else must not turn a law into a timed test.
settings.register_profile("laws", deadline=None)
settings.load_profile("laws")

BACKENDS = ("directory", "moto", "radosgw")


# Whose tests share an engine, its networks and its images, or a whole demo.
ONE_AFTER_ANOTHER = ("tests/containers/", "tests/end_to_end/test_airflow.py")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Of several processes one gets all that is real and large, first; the others take files,
    whose tests share what they are made of, one by one."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return dealt_as(nodeid)

    config.option.loadscopereorder = False  # "containers" comes first by its name
    return ByFile(config, log)


def dealt_as(nodeid: str) -> str:
    """What a test is dealt out with."""
    path = nodeid.partition("::")[0]
    return "real" if path.startswith(ONE_AFTER_ANOTHER) else path


@dataclass(frozen=True)
class S3Server:
    """An S3 server on this machine and a key to it.

    Attributes:
        ceph: Configuration of Ceph, if it is one.
    """

    endpoint: str
    access_key: str
    secret_key: str
    ceph: Path | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to use it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
        }

    def client(self) -> Any:
        """A client that does not depend on the environment."""
        import boto3

        return boto3.client(
            "s3",
            region_name="us-east-1",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
        )

    def new_user(self, name: str) -> "S3Server":
        """The same server, with the key of a user who owns nothing."""
        assert self.ceph
        user = replace(self, access_key=f"key-of-{name}", secret_key=secrets.token_hex(16))
        keys = ["--access-key", user.access_key, "--secret", user.secret_key]
        argv = ["radosgw-admin", "-c", self.ceph, "user", "create", "--uid", name, *keys]
        subprocess.run([*argv, "--display-name", name], check=True, capture_output=True)
        return user

    def new_bucket(self) -> str:
        bucket = f"tests-{secrets.token_hex(6)}"
        self.client().create_bucket(Bucket=bucket)
        return bucket


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No credentials, certificates or proxies of the machine reach a test."""
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower() in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="session")
def moto() -> Iterator[S3Server]:
    """moto's S3 server, spoken to over HTTP. It checks no signatures, and see
    ``test_a_server_that_checks_before_it_writes_fails_the_race``."""
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield S3Server(f"http://{host}:{port}", "tests", "tests-secret")
    server.stop()


@pytest.fixture(scope="session")
def radosgw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Ceph's S3 gateway with a real, one-node Ceph behind it."""
    _need_ceph()
    folder = tmp_path_factory.mktemp("ceph")
    endpoint = f"http://127.0.0.1:{free_port()}"
    server = S3Server(endpoint, "testskey", secrets.token_hex(16), folder / "ceph.conf")
    environment = {
        **os.environ,
        "S3_PORT": server.endpoint.rpartition(":")[2],
        "MON_PORT": str(free_port()),
        "ACCESS_KEY": server.access_key,
        "SECRET_KEY": server.secret_key,
    }
    ceph = subprocess.Popen(
        [Path(__file__).with_name("ceph_one_node.sh"), folder],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C reaches the tests first; the end of stdin ends Ceph
    )
    assert ceph.stdin
    assert ceph.stdout
    try:
        if ceph.stdout.readline() != "ready\n":
            ceph.wait()
            pytest.fail(f"Ceph did not start:\n{_tail(folder / 'log')}", pytrace=False)
        yield server
    finally:
        ceph.stdin.close()
        ceph.terminate()  # matters only if it is still starting
        try:
            ceph.wait(30)
        finally:
            ceph.kill()
            shutil.rmtree(folder, ignore_errors=True)


def _need_ceph() -> None:
    missing = [program for program in CEPH_PROGRAMS if not shutil.which(program)]
    if missing:
        reason = (
            f"{', '.join(missing)} not found: the proofs on a real S3 server need "
            f"`apt-get install {' '.join(CEPH_PACKAGES)}`"
        )
    elif os.geteuid() != 0:
        reason = "the proofs on a real S3 server start Ceph, which needs root"
    else:
        return
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def _tail(logs: Path) -> str:
    return "\n".join(
        f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        for log in sorted(logs.glob("*.log"))
    )


@pytest.fixture
def s3(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The server of the backend that the test is parametrized with, in the environment."""
    server: S3Server = request.getfixturevalue(request.param)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return server


@pytest.fixture(params=BACKENDS)
def store_uri(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """The address of an empty store, on each backend in turn."""
    if request.param == "directory":
        return str(tmp_path / "store")
    server: S3Server = request.getfixturevalue(request.param)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://{server.new_bucket()}/melanoma"


@pytest.fixture
def store(store_uri: str) -> Store:
    return open_store(store_uri)


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of some 200 drawn lesions of nine classes, and a table of them; only to be read."""
    from tasks.intake.synthesize import synthesize

    folder = tmp_path_factory.mktemp("lesions") / "drawn"
    synthesize(folder, scale=0.25)
    return folder


@pytest.fixture(scope="session")
def registered_run(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run of drawn lesions whose model is registered; for tests that only read, or mend."""
    from deliveries import do, judged_run

    run = judged_run(drawn, tmp_path_factory.mktemp("registered") / "store")
    do(run, "register")
    return run


@pytest.fixture
def store_of_format_1(tmp_path: Path) -> Path:
    """A store as the first version of the program left it: one delivery, one registered run and
    its evidence, drawn lesions, no MLflow; for tests that old stores and bundles still serve."""
    import tarfile

    packed = Path(__file__).with_name("fixtures") / "store_of_format_1.tar.xz"
    with tarfile.open(packed) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "store"
