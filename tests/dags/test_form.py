"""The form of Airflow's *Trigger* button. No Airflow is started."""

from typing import Any

import pytest

from tasks.config import Retraining, range_in_words

FIELDS: dict[str, dict[str, Any]] = Retraining.model_json_schema()["properties"]


@pytest.fixture
def fields(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path_factory.mktemp("airflow")))
    from dags.form import form

    return form()


def test_policy_and_recipes_come_first_and_each_section_is_one_block(fields: Any) -> None:
    sections = [field.schema.get("section") for field in fields.values()]

    assert list(fields)[:2] == ["policy", "recipes"]
    assert list(dict.fromkeys(sections)) == [None, "Data", "Training", "Gate", "Advanced"]
    assert sections == sorted(sections, key=list(dict.fromkeys(sections)).index)


def test_every_field_stands_in_the_form_once_and_nothing_else_does(fields: Any) -> None:
    from dags.form import FIRST, SECTIONS

    placed = [*FIRST, *(name for names in SECTIONS.values() for name in names)]
    assert len(placed) == len(set(placed))
    assert set(placed) < FIELDS.keys() == fields.keys()


def test_a_field_that_no_section_names_is_shown_as_advanced(
    fields: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dags import form

    monkeypatch.setitem(form.SECTIONS, "Gate", ())
    assert fields["folds"].schema["section"] == "Gate"
    assert form.form()["folds"].schema["section"] == form.LAST


def test_each_description_says_what_the_field_means_and_its_range(fields: Any) -> None:
    for name, field in FIELDS.items():
        told = f"{field['description']} Allowed: {range_in_words(field)}."
        assert fields[name].description == told
    assert fields["epochs"].description.endswith("Allowed: 1 to 500.")
