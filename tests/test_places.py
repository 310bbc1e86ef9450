"""An installation may give a step another limit of memory than the table's."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import BadInput
from tasks.pipeline import BESIDE, PIPELINE, row_of, step_named
from tasks.places import LEAST, MEMORY, limited

NAMES = [row.name for row in (*PIPELINE, *BESIDE)]


@given(st.dictionaries(st.sampled_from(NAMES), st.integers(LEAST, 10**6)))
def test_a_step_gets_what_is_named_for_it_and_else_what_the_table_says(
    memory: dict[str, int],
) -> None:
    environment = {MEMORY: json.dumps(memory)}
    for name in NAMES:
        row = row_of(name)
        assert limited(row, environment).memory_mb == memory.get(name, row.memory_mb)
        assert limited(row, {}) == row


def test_the_parts_of_a_step_get_what_the_step_gets() -> None:
    part = step_named("validate/2-of-4")

    assert limited(part, {MEMORY: '{"validate": 8192}'}).memory_mb == 8192


@pytest.mark.parametrize(
    "wrong",
    ["8192", "[]", "{", '{"valdate": 8192}', '{"validate": "8192"}', '{"validate": 1}',
     '{"validate": true}', '{"validate": 8192.5}'],
)  # fmt: skip
def test_what_names_no_step_or_no_size_is_refused(wrong: str) -> None:
    with pytest.raises(BadInput, match="validate") as error:
        limited(row_of("validate"), {MEMORY: wrong})
    assert wrong in str(error.value)
