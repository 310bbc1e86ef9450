"""The duel with the public notebooks' protocol, scaled down: it runs, and it is fair."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.engine.run import Run
from tasks.records.ingested import Ingested
from tasks.records.record import sha256
from tasks.records.split import Split
from tasks.splitting.groups import groups_of
from tests.benchmarks.notebook_protocol import their_folder
from tests.support.deliveries import delivered, do, run_of, table_of
from tests.support.paths import ROOT
from tests.support.records import record_of

pytestmark = pytest.mark.slow

COPIES = 20


@pytest.fixture(scope="module")
def run(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    store = delivered(drawn, tmp_path_factory.mktemp("duel") / "store")
    run = run_of(store, minimum_groups=4)
    do(run, "ingest", "validate", "split")
    return run


def test_the_notebooks_get_every_sound_image_that_shares_nothing_with_our_test_part(
    run: Run, drawn: Path, tmp_path: Path
) -> None:
    parts = table_of(run, record_of(run, Split).parts)
    manifest = table_of(run, record_of(run, Ingested).manifest)
    count = their_folder(run, drawn, parts, tmp_path / "notebook")
    files = [path.read_bytes() for path in (tmp_path / "notebook").rglob("*.jpg")]

    manifest["group"] = groups_of(manifest)
    tested = parts.loc[parts["side"] == "test", "key"]
    theirs = manifest["group"].isin(manifest.loc[manifest["key"].isin(tested), "group"])
    sound = manifest["shard"].notna() & manifest["label"].notna()
    assert len(files) == count == int((sound & ~theirs).sum())
    assert sorted(map(sha256, files)) == sorted(manifest.loc[sound & ~theirs, "sha256"])
    learned = parts.loc[parts["side"] != "test", "key"]
    assert set(learned) <= set(manifest.loc[sound & ~theirs, "key"])


def test_the_duel_tells_what_the_notebooks_report_and_what_is_true(
    drawn: Path, run: Run, tmp_path: Path
) -> None:
    config = {"recipes": ["baseline"], "epochs": 1, "policy": "smoke"}
    config |= {name: getattr(run.config, name) for name in ("image_size", "minimum_groups")}
    told = tmp_path / "duel.json"
    subprocess.run(
        [
            *(sys.executable, "-m", "tests.benchmarks.notebook_protocol", str(drawn)),
            *(str(drawn / "metadata"), "--network", "tutorial", "--minutes", "0.1"),
            *("--copies", str(COPIES), "--json", str(told), "--config"),
            json.dumps(config),
        ],
        check=True,
        cwd=ROOT,
    )
    figures = json.loads(told.read_text())

    parts = table_of(run, record_of(run, Split).parts)
    tested = parts[parts["side"] == "test"]
    claimed, honest = (figures[name] for name in figures if name.startswith("accuracy"))
    assert _n(honest[0]) == len(tested)
    assert _n(honest[1]) == tested["group"].nunique()
    delivered = their_folder(run, drawn, parts, tmp_path / "notebook")
    classes = len(list((tmp_path / "notebook").iterdir()))
    assert _n(claimed[0]) == int(0.2 * (delivered + COPIES * classes))
    assert claimed[1] == "not computed so"


def _n(figure: str) -> int:
    found = re.search(r"n = (\d+)", figure)
    assert found, figure
    return int(found[1])
