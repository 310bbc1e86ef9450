"""What a run of the demo's store takes if nobody configures the run."""

import json
from pathlib import Path

import pytest

from demo.defaults import give_defaults
from demo.place import SYNTHETIC_CONFIG, Place, place_from
from tasks.config import Retraining, parse_config
from tasks.engine.defaults import begin, set_defaults
from tasks.engine.deliveries import Defaults, answerable_for, facts_in
from tasks.engine.directory import DirectoryStore
from tasks.engine.person import VARIABLE, Person
from tasks.engine.run import Run
from tasks.engine.storage import open_store
from tasks.engine.store import Store
from tasks.errors import BadInput
from tasks.intake.deliver import deliver
from tests.support.deliveries import picture
from tests.support.servers import S3Server
from tests.support.stores import keys

ANNA = Person(name="anna", how="command line", authenticated=False)
BERT = Person(name="bert", how="Airflow", authenticated=True)


@pytest.fixture
def clinic(tmp_path: Path) -> Path:
    folder = tmp_path / "clinic"
    (folder / "nevus").mkdir(parents=True)
    (folder / "nevus" / "1.png").write_bytes(picture(1))
    return folder


@pytest.fixture(autouse=True)
def anna(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, ANNA.model_dump_json())


def place_in(home: Path, **given: str) -> Place:
    return place_from({"DEMO_HOME": str(home), **given})


def store_of(place: Place) -> Store:
    return open_store(place.store)


def test_a_run_that_nobody_configures_is_judged_as_drawn_and_has_a_person(
    tmp_path: Path, clinic: Path
) -> None:
    place = place_in(tmp_path)
    said = give_defaults(place)
    store = store_of(place)
    deliver(store, clinic)
    config = begin(store, "unattended", "{}")
    Run(store, "unattended", config).delivered()

    assert config == parse_config(SYNTHETIC_CONFIG) == place.config
    assert (config.policy, config.image_size) == ("synthetic", 48)
    assert SYNTHETIC_CONFIG in said
    assert answerable_for(store, "unattended") == (ANNA,)


def test_the_demo_again_sets_nothing_and_what_a_person_set_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = place_in(tmp_path)
    give_defaults(place)
    monkeypatch.setenv(VARIABLE, BERT.model_dump_json())
    assert SYNTHETIC_CONFIG in give_defaults(place)
    assert [fact.by for fact in facts_in(store_of(place))] == [ANNA]

    set_defaults(store_of(place), '{"policy": "smoke"}', BERT)
    assert '{"policy": "smoke"}' in give_defaults(place)
    assert begin(store_of(place), "next", "{}").policy == "smoke"


def test_fields_of_a_person_stand_over_the_demos_and_are_for_one_run(tmp_path: Path) -> None:
    place = place_in(tmp_path, CONFIG='{"epochs": 2}')
    give_defaults(place)

    assert (place.config.epochs, place.config.policy, place.config.image_size) == (
        2,
        "synthetic",
        48,
    )
    assert begin(store_of(place), "next", "{}").epochs == json.loads(SYNTHETIC_CONFIG)["epochs"]


def test_real_images_get_the_defaults_of_the_product(tmp_path: Path, clinic: Path) -> None:
    place = place_in(tmp_path, IMAGES=str(clinic), CONFIG='{"epochs": 2}')
    said = give_defaults(place)
    config = begin(store_of(place), "unattended", "{}")

    assert "defaults of the product" in said
    assert config == Retraining()
    assert config.policy == "melanoma"
    assert place.config.model_dump(exclude_unset=True) == {"epochs": 2}
    assert facts_in(store_of(place)) == []


def test_real_images_are_not_taken_where_runs_are_judged_as_drawn(
    tmp_path: Path, clinic: Path
) -> None:
    place = place_in(tmp_path, IMAGES=str(clinic))
    set_defaults(DirectoryStore(Path(place.store)), SYNTHETIC_CONFIG, ANNA)

    with pytest.raises(BadInput, match="those for drawn lesions"):
        give_defaults(place)


def test_a_store_elsewhere_that_held_images_keeps_the_products_defaults(
    tmp_path: Path, clinic: Path, moto: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may be real images, of somebody who expects the product's defaults."""
    for name, value in moto.environment.items():
        monkeypatch.setenv(name, value)
    empty, held = (place_in(tmp_path, STORE=f"s3://{moto.new_bucket()}/a") for _ in range(2))
    deliver(store_of(held), clinic)

    assert "gets no defaults" in give_defaults(held)
    assert "config.json" not in keys(store_of(held))
    give_defaults(empty)
    assert begin(store_of(empty), "unattended", "{}").policy == "synthetic"
    assert isinstance(facts_in(store_of(empty))[0], Defaults)
