"""What Kubernetes would refuse, or take as something else, is refused before."""

import pytest

from tasks.errors import BadInput
from tasks.kubernetes_names import (
    NAMESPACE,
    OBJECT,
    is_extended_resource,
    is_image,
    is_label,
    literal,
    named,
)
from tests.support.fake_cluster import expanded

DIGEST = f"sha256:{'a' * 64}"


@pytest.mark.parametrize("name", ["a", "melanoma-store", "s3.store-2", "a" * 63 + ".b", "0"])
def test_a_name_that_kubernetes_takes_is_taken(name: str) -> None:
    assert named("VARIABLE", name, OBJECT) == name


@pytest.mark.parametrize(
    "name",
    ["", " ", "Store", "a_b", "a,b", "-a", "a-", "a..b", "a.", "store-{step}", "a/b", "a\n",
     "é", "a" * 254],
)  # fmt: skip
def test_a_name_that_kubernetes_refuses_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match="VARIABLE"):
        named("VARIABLE", name, OBJECT)


def test_a_namespace_has_no_dot_and_at_most_63_letters() -> None:
    assert named("VARIABLE", "a" * 63, NAMESPACE)
    for name in ("a.b", "a" * 64, "../../x y"):
        with pytest.raises(BadInput, match="VARIABLE"):
            named("VARIABLE", name, NAMESPACE)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("pool", "gpu"),
        ("kubernetes.io/hostname", "node-1.house.example"),
        ("melanoma-retraining/pool", "GPU_2"),
        ("a.b_C-d", ""),
        ("x" * 63, "y" * 63),
    ],
)
def test_a_label_that_kubernetes_takes_is_one(key: str, value: str) -> None:
    assert is_label(key, value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("bad key!", "x"),
        ("", ""),
        ("x" * 64, "x"),
        ("/pool", "x"),
        ("a/b/c", "x"),
        ("Upper.Case/pool", "x"),
        ("pool", "not a label"),
        ("pool", "-x"),
        ("pool", "x" * 64),
        ("pool", "x\n"),
        ("pool", 1),
        ("pool", None),
    ],
)
def test_a_label_that_kubernetes_refuses_is_none(key: str, value: object) -> None:
    assert not is_label(key, value)


@pytest.mark.parametrize(
    "name",
    ["nvidia.com/gpu", "nvidia.com/mig-1g.5gb", "nvidia.com/gpu.shared", "amd.com/gpu",
     "gpu.intel.com/i915"],
)  # fmt: skip
def test_the_name_of_a_device_is_one(name: str) -> None:
    assert is_extended_resource(name)


@pytest.mark.parametrize(
    "name",
    ["memory", "cpu", "gpu", " ", "ephemeral-storage", "hugepages-2Mi", "kubernetes.io/gpu",
     "requests.nvidia.com/gpu", " junk/ x", "nvidia.com/", "nvidia.com/gpu\n"],
)  # fmt: skip
def test_what_names_no_device_is_none(name: str) -> None:
    assert not is_extended_resource(name)


@pytest.mark.parametrize(
    "reference",
    [f"r/x@{DIGEST}", f"r:5000/x:tag@{DIGEST}", "data", "data:latest", "localhost/a/b__c-d:1.0",
     f"[::1]:5000/x@{DIGEST}", f"registry.example/melanoma/train-gpu@{DIGEST}",
     f"Registry.Example/x@{DIGEST}"],
)  # fmt: skip
def test_a_reference_of_an_image_is_one(reference: str) -> None:
    assert is_image(reference)


@pytest.mark.parametrize(
    "reference",
    ["", " ", f" @{DIGEST}", f"a b@{DIGEST}", f"https://r/x@{DIGEST}", f"r/X@{DIGEST}",
     f"r/x@{DIGEST}@{DIGEST}", f"r/x@{DIGEST} ", f"r/x@{DIGEST}\n", f"$(TMPDIR)@{DIGEST}",
     f"r/x@sha256:{'A' * 64}", "r/x:", "r/x:a b", "r//x", "/x", f"r/{'x' * 256}@{DIGEST}"],
)  # fmt: skip
def test_what_is_no_reference_of_an_image_is_none(reference: str) -> None:
    assert not is_image(reference)


@pytest.mark.parametrize(
    "text", ["costs $$5; image $(IMAGE)", "$", "$$", "$(", "$$(IMAGE)", "$(IMAGE)$", "no", "$x"]
)
def test_kubernetes_makes_of_a_literal_what_was_meant(text: str) -> None:
    known = {"IMAGE": "another"}

    assert expanded(literal(text), known) == text
    assert expanded("of $(IMAGE), $$5, $(NONE)", known) == "of another, $5, $(NONE)"
