"""What Kubernetes takes as the name of an object, a label, a device, an image, or plain text.

A name that breaks these rules is refused by the cluster, hours later or with words about something
else; some are taken and mean another thing. The rules are those of Kubernetes' own validation
(staging/src/k8s.io/apimachinery/pkg/util/validation and pkg/apis/core/v1/helper in
kubernetes/kubernetes) and of references of images (distribution/reference, regexp.go).
"""

import re
from dataclasses import dataclass

from tasks.errors import BadInput

_PART = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_HOST = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_FOLDER = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    rf"(?P<name>(?:(?:{_HOST}(?:\.{_HOST})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?/)?"
    rf"{_FOLDER}(?:/{_FOLDER})*)"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
LONGEST_IMAGE = 255  # its name, without tag and digest
LONGEST_LABEL = 63


@dataclass(frozen=True)
class Rule:
    """How a kind of object may be called."""

    pattern: re.Pattern[str]
    longest: int
    words: str


# DNS-1123: of secrets, service accounts, priority classes; and of namespaces.
OBJECT = Rule(
    re.compile(rf"{_PART}(\.{_PART})*"), 253, "small letters, digits, '-' and '.', at most 253"
)
NAMESPACE = Rule(re.compile(_PART), 63, "small letters, digits and '-', at most 63")


def named(variable: str, value: str, rule: Rule) -> str:
    """The name that a variable gives.

    Raises:
        BadInput: Nothing in a cluster can be called so.
    """
    if _keeps(value, rule):
        return value
    raise BadInput(
        "Nothing in a cluster of Kubernetes can be called so.",
        expected=f"{variable}, a name of {rule.words}, with a letter or digit at each end",
        received=f"{variable}={value[:300]!r}",
        do="correct it; in the name of a secret {step} stands for the step",
    )


def is_label(key: object, value: object) -> bool:
    """Whether Kubernetes takes a key and its value as a label: ``pool`` and ``gpu``."""
    if not isinstance(key, str) or not isinstance(value, str):
        return False
    return _is_qualified(key) and (not value or _is_name(value))


def is_extended_resource(name: str) -> bool:
    """Whether a resource is a device's, such as ``nvidia.com/gpu``, and none of Kubernetes' own,
    such as memory."""
    domain, slash, _ = name.partition("/")
    own = not slash or "kubernetes.io" in domain or name.startswith("requests.")
    return not own and _is_qualified(name)


def is_image(reference: str) -> bool:
    """Whether a text is the reference of an image: ``registry:5000/name:tag@sha256:...``."""
    found = _IMAGE.fullmatch(reference)
    return found is not None and len(found["name"]) <= LONGEST_IMAGE


def literal(text: str) -> str:
    """Text of which Kubernetes makes `text` again, in the argv and the environment of a container.

    There it replaces ``$(NAME)`` by a variable, and ``$$`` by ``$`` (Container.args and
    EnvVar.value in the API reference).

    >>> literal("costs $5, of $(IMAGE)")
    'costs $$5, of $$(IMAGE)'
    """
    return text.replace("$", "$$")


def _keeps(value: str, rule: Rule) -> bool:
    return len(value) <= rule.longest and bool(rule.pattern.fullmatch(value))


def _is_name(text: str) -> bool:
    return len(text) <= LONGEST_LABEL and bool(_NAME.fullmatch(text))


def _is_qualified(key: str) -> bool:
    prefix, slash, name = key.rpartition("/")
    return _is_name(name) and (not slash or _keeps(prefix, OBJECT))
