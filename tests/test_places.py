"""What an installation says of its machines, images and limits is taken or refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import BadInput
from tasks.pipeline import BESIDE, PIPELINE, row_of, step_named
from tasks.places import (
    LEAST,
    MEMORY,
    MOST,
    gpu_resource,
    image_named,
    limited,
    nodes_of,
    spool_limit,
)

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


# Memory and nodes that say too much --------------------------------------------------------------

DEEP = 50_000


@pytest.mark.parametrize(
    "wrong",
    ["[" * DEEP, '{"train":' * DEEP, '{"train": 9000, "train": 128}', f'{{"train": {10**30}}}',
     f'{{"train": {MOST + 1}}}', '{"train": NaN}'],
    ids=["deep list", "deep object", "twice", "huge", "too much", "no number"],
)  # fmt: skip
def test_memory_that_no_machine_has_or_nobody_can_read_is_refused(wrong: str) -> None:
    with pytest.raises(BadInput, match=MEMORY) as error:
        limited(row_of("train"), {MEMORY: wrong})
    assert len(str(error.value)) < 1500


@pytest.mark.parametrize(
    "wrong",
    ["[" * DEEP, '{"large":' * DEEP, '{"large": {"a": "b"}, "large": {}}',
     '{"large": {"a": "b", "a": "c"}}', '{"large": {"bad key!": "x"}}', '{"large": {"": ""}}',
     '{"large": {"a": "not a label"}}'],
)  # fmt: skip
def test_labels_that_no_node_has_are_refused(wrong: str) -> None:
    with pytest.raises(BadInput, match="MELANOMA_NODES") as error:
        nodes_of(row_of("train"), {"MELANOMA_NODES": wrong}, gpus=0)
    assert len(str(error.value)) < 1500


def test_labels_of_nodes_and_much_memory_are_taken() -> None:
    labels = {"large": {"kubernetes.io/os": "linux", "pool": ""}}
    environment = {"MELANOMA_NODES": json.dumps(labels), MEMORY: f'{{"train": {MOST}}}'}

    assert nodes_of(row_of("train"), environment, gpus=0) == labels["large"]
    assert limited(row_of("train"), environment).memory_mb == MOST


# Images, disks, devices --------------------------------------------------------------------------

DIGEST = f"sha256:{'a' * 64}"


@pytest.mark.parametrize(
    ("variable", "image"),
    [("MELANOMA_IMAGE_TRAIN", f"{name}@{DIGEST}") for name in ("a b", "https://r/x", "r/x@D", "")]
    + [("MELANOMA_IMAGES", f"registry.example/data@{DIGEST}")],
)
def test_what_names_no_image_is_refused_by_digest_and_by_tag(variable: str, image: str) -> None:
    for by_tag in (False, True):
        with pytest.raises(BadInput, match=variable):
            image_named("train", {variable: image}, by_tag=by_tag)


def test_an_image_is_taken_by_its_own_variable_or_from_the_name_of_all() -> None:
    own, every = f"r:5000/x:1@{DIGEST}", f"r/{{image}}@{DIGEST}"

    assert image_named("train", {"MELANOMA_IMAGE_TRAIN": own}, by_tag=False) == own
    assert image_named("data", {"MELANOMA_IMAGES": every}, by_tag=False) == f"r/data@{DIGEST}"
    both = {"MELANOMA_IMAGE_TRAIN": own, "MELANOMA_IMAGES": "one"}  # which is not read
    assert image_named("train", both, by_tag=False) == own
    assert image_named("train", {"MELANOMA_IMAGE_TRAIN": "x"}, by_tag=True) == "x"
    with pytest.raises(BadInput, match="a name without a digest"):
        image_named("train", {"MELANOMA_IMAGE_TRAIN": "x"}, by_tag=False)


@pytest.mark.parametrize("wrong", ["9" * 60 + "Ti", "99999Ti", "1.5Gi", "20", "0Gi", "20Gi\n"])
def test_a_disk_that_no_node_has_is_refused(wrong: str) -> None:
    with pytest.raises(BadInput, match="MELANOMA_SPOOL_LIMIT"):
        spool_limit({"MELANOMA_SPOOL_LIMIT": wrong})
    assert spool_limit({"MELANOMA_SPOOL_LIMIT": "2048000Mi"}) == "2048000Mi"


def test_only_a_device_is_a_gpu() -> None:
    """As `memory`, it would be the limit of memory, of one byte."""
    for wrong in ("memory", "cpu", " junk/ x"):
        with pytest.raises(BadInput, match="MELANOMA_GPU_RESOURCE"):
            gpu_resource({"MELANOMA_GPU_RESOURCE": wrong})
    assert gpu_resource({"MELANOMA_GPU_RESOURCE": "amd.com/gpu"}) == "amd.com/gpu"
    assert gpu_resource({}) == "nvidia.com/gpu"
