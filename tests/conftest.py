"""The stores that the tests run on: a directory, moto's S3 server, and a real one (radosgw).

Servers start when the first test asks for them and end with the session, also a failed one.
"""

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings

from tasks.engine.storage import open_store
from tasks.engine.store import Store
from tests.support.dealing import dealt_as, turn_of
from tests.support.missing import lines_of
from tests.support.pace import asks_for_more, is_campaign, is_slow
from tests.support.paths import FIXTURES, ROOT
from tests.support.servers import S3Server, free_port, need_ceph, tail_of

# A machine that is busy with something else must not turn a law into a timed test.
settings.register_profile("laws", deadline=None)
# Who only asks whether a test fails does not wait until its example is the smallest.
settings.register_profile("unshrunk", deadline=None, phases=set(Phase) - {Phase.shrink})
settings.load_profile("laws")

BACKENDS = ("directory", "moto", "radosgw")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Processes take files, whose tests share what they are made of, one by one; the longest
    first."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return dealt_as(nodeid)

    config.option.loadscopereorder = False  # see `turn_of`
    return ByFile(config, log)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--check", action="store_true", help="only what answers within seconds")
    parser.addoption("--campaign", action="store_true", help="also what takes hours")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """What is not asked for is not imported either: a network's libraries alone take seconds."""
    if is_campaign(collection_path) and not config.getoption("--campaign"):
        return True
    return True if config.getoption("--check") and is_slow(collection_path) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """`--check` leaves out each test that asks for a server or a trained model."""
    items.sort(key=lambda item: turn_of(item.nodeid))
    if config.getoption("--check"):
        left_out = [item for item in items if asks_for_more(item)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """One line for each thing that is missing, not one for each test that needs it."""
    skipped = terminalreporter.stats.get("skipped", [])
    lines = lines_of(str(report.longrepr[2]) for report in skipped)
    if lines:
        terminalreporter.section("what this machine lacks")
        terminalreporter.write_line("\n".join(lines))


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No credentials, keys, certificates or proxies of the machine reach a test."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "MELANOMA_SIGNING", "MELANOMA_PUBLIC")) or name.lower() in (
            "http_proxy",
            "https_proxy",
            "all_proxy",
        ):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


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
    need_ceph()
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
        [ROOT / "tests/support/ceph_one_node.sh", folder],
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
            pytest.fail(f"Ceph did not start:\n{tail_of(folder / 'log')}", pytrace=False)
        yield server
    finally:
        ceph.stdin.close()
        ceph.terminate()  # matters only if it is still starting
        try:
            ceph.wait(30)
        finally:
            ceph.kill()
            shutil.rmtree(folder, ignore_errors=True)


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
    from tests.support.deliveries import do, judged_run

    run = judged_run(drawn, tmp_path_factory.mktemp("registered") / "store")
    do(run, "register")
    return run


@pytest.fixture(scope="session")
def two_challengers(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two registered models, which an engineer trained, and no champion."""
    from tasks.engine.person import VARIABLE
    from tests.support.approvals import ENGINEER
    from tests.support.deliveries import BEFORE_REGISTER, OF_TWO, delivered, do, run_of

    store = delivered(drawn, tmp_path_factory.mktemp("two") / "store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, ENGINEER.model_dump_json())
        for name, seed in (("first", 2), ("second", 20)):
            do(run_of(store, name, seed=seed, **OF_TWO), *BEFORE_REGISTER, "register")
    return Path(store.uri)


@pytest.fixture
def store_of_format_1(tmp_path: Path) -> Path:
    """A store as the first version of the program left it: one delivery, one registered run and
    its evidence, drawn lesions, no MLflow; for tests that old stores and bundles still serve."""
    import tarfile

    packed = FIXTURES / "store_of_format_1.tar.xz"
    with tarfile.open(packed) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "store"
