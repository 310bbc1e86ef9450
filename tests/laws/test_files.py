"""The laws of files: what none may hold or say, how long it may be, and what is locked."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.dealing import LONGEST_FIRST, ONE_AFTER_ANOTHER, dealt_as, turn_of
from tests.support.house import product_files
from tests.support.paths import ROOT

PLACE = r"(?<![\w.:*{}/-])/(?:home|Users|root|work|tmp)/[\w.]"


def files_of_the_project() -> list[Path]:
    """Every file that is, or is about to be, in the repository."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]


def lines_that_match(pattern: str) -> list[str]:
    found = []
    for path in files_of_the_project():
        try:
            lines = path.read_text().splitlines()
        except UnicodeDecodeError:
            continue  # a picture
        found += [
            f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
            for number, line in enumerate(lines, 1)
            if re.search(pattern, line)
        ]
    return found


# What no file may hold --------------------------------------------------------------------------


def test_no_file_names_a_package_registry() -> None:
    hosts = (("pypi", "org"), ("pythonhosted", "org"), ("anaconda", "org"), ("npmjs", "org"))

    assert lines_that_match("|".join(re.escape(".".join(host)) for host in hosts)) == []


def test_no_file_names_a_place_on_a_developers_machine() -> None:
    assert lines_that_match(PLACE) == []


@pytest.mark.parametrize(
    "line", ["cd {}home/me", "x = '{}Users/me/x'", "ROOT={}work/main", "{}tmp/a"]
)
def test_a_place_on_a_developers_machine_would_be_found(line: str) -> None:
    assert re.search(PLACE, line.format("/"))
    assert not re.search(PLACE, line.format("some/"))


MOST_LINES = 400


def is_too_long(source: str) -> bool:
    return len(source.splitlines()) > MOST_LINES


@pytest.mark.parametrize(
    "path",
    [*product_files(), *(ROOT / "tests").rglob("*.py")],
    ids=lambda path: f"{path.parent.name}/{path.stem}",
)
def test_a_file_is_short_enough_to_be_read(path: Path) -> None:
    assert not is_too_long(path.read_text()), f"cut {path.name} by idea"


def test_a_file_that_is_too_long_would_be_found() -> None:
    assert is_too_long("x = 1\n" * (MOST_LINES + 1))
    assert not is_too_long("x = 1\n" * MOST_LINES)


def test_no_file_is_a_drawer_for_what_has_no_name() -> None:
    names = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "managers", "base"}

    assert [path for path in files_of_the_project() if path.stem.casefold() in names] == []


@pytest.mark.parametrize("lock", sorted((ROOT / "locks").glob("*.txt")), ids=lambda path: path.stem)
def test_every_entry_of_a_lock_is_pinned_and_has_a_hash(lock: Path) -> None:
    text = re.sub(r"(?m)^\s*#.*\n", "", lock.read_text()).replace("\\\n", " ")
    entries = [line for line in text.splitlines() if line.strip()]

    assert entries
    for entry in entries:
        assert re.match(r"[A-Za-z0-9._\[\],-]+==[^\s;]+", entry), entry
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry), entry


@pytest.mark.parametrize("lock", ["train", "train-gpu"])
def test_training_has_what_mlflow_reads_the_load_of_the_machine_with(lock: str) -> None:
    assert re.search(r"(?m)^psutil==", (ROOT / "locks" / f"{lock}.txt").read_text())


def test_everything_in_a_lock_is_in_the_lock_of_everything() -> None:
    """One resolution: a container runs the versions that were tested together. Only what computes
    on a GPU is in no environment of a CPU machine. Kubeflow's compiler, which runs no step, wants
    another client of Kubernetes than Airflow; kubectl is no library of Python."""

    def pins(path: Path) -> dict[str, str]:
        found = re.findall(r"(?m)^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", path.read_text())
        return {name.casefold().replace("_", "-"): version for name, version in found}

    everything = pins(ROOT / "locks/everything.txt")
    installer = ROOT / "locks/uv.txt"  # installs the rest, and is no part of it
    compilers = {ROOT / "locks/kubeflow.txt", ROOT / "locks/kubectl.txt"}
    for lock in set((ROOT / "locks").glob("*.txt")) - {installer, *compilers}:
        differing = {
            name: (version, everything.get(name))
            for name, version in pins(lock).items()
            if everything.get(name) != version
            and not (lock.name == "train-gpu.txt" and re.match("jax-cuda|nvidia-", name))
        }
        assert differing == {}, lock.name


def test_one_process_gets_all_tests_that_share_an_engine_and_begins_first() -> None:
    """Two at once would build the same images, and make the same network, beside each other."""
    for place in ONE_AFTER_ANOTHER:
        assert (ROOT / place).is_dir()
        assert dealt_as(f"{place}test_a.py::test_a[1]") == dealt_as(f"{place}test_b.py::test_b")
        assert turn_of(f"{place}test_a.py::test_a") < turn_of("tests/test_a.py::test_a")
    assert dealt_as("tests/test_a.py::test_b") == dealt_as("tests/test_a.py::test_c[x::y]")
    assert dealt_as("tests/test_a.py::test_b") != dealt_as("tests/test_b.py::test_b")
    for place in LONGEST_FIRST:
        assert (ROOT / place).exists()


# What is said -----------------------------------------------------------------------------------

# A bound that is rounded to the nearest claims more than it holds: 79.96 % becomes 80.0 %.
NEAREST = re.compile(
    r"""\.(?:lower|upper)\s*(?::[+.]|\)?\s*\|\s*(?:percent|round))  # {x.lower:.1%}
    |format\(\s*[\w.]+\.(?:lower|upper)\b  # "%.3f" | format(x.lower)
    |percent\(\s*[\w.]+\.(?:lower|upper)\b  # percent(x.lower)
    """,
    re.VERBOSE,
)


def test_no_page_log_or_message_rounds_a_bound_to_the_nearest() -> None:
    folders = [ROOT / "tasks", ROOT / "dags", ROOT / "demo"]
    files = [path for each in folders for path in each.rglob("*") if path.suffix in (".py", ".j2")]
    found = [
        f"{path.name}:{number}"
        for path in files
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if NEAREST.search(line)
    ]

    assert len(files) > 80
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        'f"{found.lower:.1%} to {found.upper:.1%}"',
        '{{ "%.3f" | format(figure.lower) }}',
        "{{ each.upper | percent(1) }}",
        "percent(same.upper)",
    ],
)
def test_that_law_sees_each_way_to_round_a_bound(line: str) -> None:
    assert NEAREST.search(line)
    assert not NEAREST.search(line.replace("lower", "value").replace("upper", "value"))
