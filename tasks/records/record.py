"""What all records share: artifacts, provenance and the hash of their content.

Each step of a run has one record, ``runs/<run>/<step>/record.json``, written once, after its
artifacts. The content of a record is everything but its ``provenance``; reuse of a step compares
the SHA-256 of the content.
"""

import hashlib
import json
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from tasks.config import Retraining
from tasks.errors import BadInput
from tasks.recipes import with_present_names


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Artifact(Frozen):
    """One object in the store. The record that names the object vouches for its bytes."""

    key: str = Field(description="Key of the object in the store.")
    sha256: str = Field(description="SHA-256 of the object's bytes, hex.")
    size_bytes: int = Field(description="Size of the object in bytes.")


class LedgerHead(Frozen):
    """The last entry of the ledger when a record was made, see `tasks.engine.ledger`."""

    number: int = Field(ge=1, description="Number of the entry, from 1.")
    sha256: str = Field(description="SHA-256 of the entry's bytes, hex.")


class Provenance(Frozen):
    """How a record was made. Provenance is not part of a record's content."""

    step: str = Field(description="The step, or the part of a step, that made the record.")
    run: str = Field(description="Name of the run.")
    config: Annotated[Retraining, BeforeValidator(with_present_names)] = Field(
        description="The configuration of the run."
    )
    code: str = Field(
        description="SHA-256 over the code that the result depends on, see `tasks.engine.sources`."
    )
    format: int = Field(
        1,
        ge=1,
        description="`Record.FORMAT` of the record. Records of earlier versions of the program say "
        "none; theirs is the first.",
    )
    fingerprint: str = Field(
        description="SHA-256 over code, libraries, configuration and inputs. A step with the "
        "fingerprint of an earlier run reuses that run's record."
    )
    inputs: dict[str, str] = Field(description="Content hash of each record that was read.")
    parts: dict[str, str] = Field({}, description="Content hash of the record of each part.")
    outside: dict[str, str] = Field(
        {}, description="State outside the records that `Step.outside` names, at that time."
    )
    reused_from: str | None = Field(
        description="The run that did the work; None if this run did the work itself."
    )
    committed_at: str = Field(description="UTC, ISO 8601.")
    seconds: float = Field(
        description="Wall time of the step, without the start of the interpreter and without the "
        "step's parts."
    )
    seconds_of_parts: float = Field(
        0.0,
        description="Sum of the wall times of the step's parts. Parts that run side by side take "
        "less time by the clock.",
    )
    peak_memory_bytes: int = Field(description="Peak memory of the step's process.")
    machine: str = Field(description="Processor, cores, memory, GPUs and name of the machine.")
    image: str | None = Field(
        None, description="Digest of the container image; None for a step run without a container."
    )
    signature: str = Field(
        "",
        description="Over all other bytes of the record, see `tasks.engine.signing`; empty, and "
        "left out of the file, where there is no key.",
    )

    @model_serializer(mode="wrap")
    def _without_an_empty_signature(self, inner: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = inner(self)
        if not self.signature:  # an unsigned record has the bytes that it always had
            fields.pop("signature", None)
        return fields

    @property
    def seconds_in_all(self) -> float:
        """Wall time of the step plus the wall times of all its parts."""
        return self.seconds + self.seconds_of_parts


class Record(Frozen):
    """What all records share.

    Attributes:
        FORMAT: How the record is written, from 1. Raise it with any change of its fields, or of the
            fields of what it holds: a field added, dropped, renamed or meant otherwise. Then the
            step is done again, and earlier versions of the program refuse the record.
        NOT_CONTENT: Fields that say when or where the work was done, in the form of pydantic's
            `exclude`: True for a field, a mapping for fields inside a field.
        NOT_CONTENT_UNTIL: `NOT_CONTENT` of earlier formats, by the last format of each, so that
            older records keep their hash.
        ADDED: Fields that earlier versions of the program did not know. An empty one is left out
            of the content hash, so that older records keep their hash.
    """

    FORMAT: ClassVar[int] = 1
    NOT_CONTENT: ClassVar[dict[str, Any]] = {}
    NOT_CONTENT_UNTIL: ClassVar[dict[int, dict[str, Any]]] = {}
    ADDED: ClassVar[tuple[str, ...]] = ()

    provenance: Provenance | None = Field(
        None, description="How the record was made; None until the engine commits the record."
    )

    @property
    def written_in(self) -> int:
        """Format of this record."""
        return self.provenance.format if self.provenance else self.FORMAT

    @property
    def content_hash(self) -> str:
        """SHA-256, hex, over the content of the record.

        Artifacts count by their bytes, not by their key. So two attempts at the same deterministic
        work have the same hash.
        """
        silent = {
            name: True
            for name in self.ADDED
            if getattr(self, name) == type(self).model_fields[name].default
        }
        earlier = (last for last in sorted(self.NOT_CONTENT_UNTIL) if self.written_in <= last)
        not_content = self.NOT_CONTENT_UNTIL.get(next(earlier, 0), self.NOT_CONTENT)
        content = self.model_dump(mode="json", exclude={"provenance": True} | not_content | silent)
        return sha256(json.dumps(_placeless(content), sort_keys=True).encode())

    @classmethod
    def parsed(cls, data: bytes, key: str) -> Self:
        """Read a record.

        Args:
            data: Its JSON.
            key: Where it lies, for the message.

        Raises:
            BadInput: A later version of the program wrote it, in a format that is not known here.
            ValidationError: It is no such record.
        """
        try:
            record = cls.model_validate_json(data)
        except ValidationError:
            if (later := _format_of(data)) > cls.FORMAT:
                raise cls._too_new(later, key) from None
            raise
        if record.provenance and record.provenance.format > cls.FORMAT:
            raise cls._too_new(record.provenance.format, key)
        return record

    @classmethod
    def _too_new(cls, later: int, key: str) -> BadInput:
        return BadInput(
            f"The record {key} was written by a later version of the program.",
            expected=f"{cls.__name__} in format {cls.FORMAT} or an earlier one",
            received=f"format {later}",
            do="use the version of the program that wrote it, or a later one",
        )

    def with_provenance(self, provenance: Provenance) -> Self:
        return self.model_copy(update={"provenance": provenance})

    @property
    def reason_to_stop(self) -> str | None:
        """Why the following steps must not run; None if they may run."""
        return None


def _format_of(data: bytes) -> int:
    """The format that a record says it has, although it cannot be read; 0 if it says none."""
    try:
        return int(json.loads(data)["provenance"]["format"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return 0


# Fields inside records that earlier versions did not know, or that later versions leave empty. An
# empty one is left out of the content hash, so that an old record keeps its hash.
ADDED_WITHIN = ("called", "fit", "mixed", "champion_learned_from", "standing_learned_from")


def _placeless(value: Any) -> Any:
    if isinstance(value, dict):
        place = {"key"} if value.keys() == Artifact.model_fields.keys() else set()
        place |= {name for name in ADDED_WITHIN if value.get(name, "") in (None, "")}
        return {name: _placeless(part) for name, part in value.items() if name not in place}
    return [_placeless(part) for part in value] if isinstance(value, list) else value


def artifacts_of(value: Any) -> Iterator[Artifact]:
    """Every artifact inside a record."""
    if isinstance(value, Artifact):
        yield value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from artifacts_of(getattr(value, name))
    elif isinstance(value, dict):
        for part in value.values():
            yield from artifacts_of(part)
    elif isinstance(value, tuple):
        for part in value:
            yield from artifacts_of(part)
