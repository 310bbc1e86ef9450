"""The form of a provenance: an in-toto statement (v1) with the predicate SLSA provenance (v1).

Published at https://in-toto.io/Statement/v1 and https://slsa.dev/provenance/v1. Only fields of that
form are taken, and the names of the models' fields are the form's own.
"""

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

STATEMENT: Final = "https://in-toto.io/Statement/v1"
PREDICATE: Final = "https://slsa.dev/provenance/v1"
Uri = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9+.-]*:[^\s]+$")]
Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40,128}$")]
# Lengths of digests, in hexadecimal digits, by the names that in-toto gives them.
DIGITS = {"sha256": 64, "sha384": 96, "sha512": 128, "sha1": 40, "gitCommit": 40}
Digest = dict[Literal["sha256", "sha384", "sha512", "sha1", "gitCommit"], Hex]


class Form(BaseModel):
    """What all parts of a statement share: no field that the form does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Resource(Form):
    """in-toto's ResourceDescriptor: names something by at least one of uri, digest and content."""

    name: str | None = None
    uri: Uri | None = None
    digest: Digest | None = None
    content: str | None = None
    downloadLocation: Uri | None = None  # noqa: N815 - the form's own
    mediaType: str | None = None  # noqa: N815
    annotations: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _names_something(self) -> "Resource":
        if not (self.uri or self.digest or self.content):
            raise ValueError("a resource has a uri, a digest or a content")
        for kind, value in (self.digest or {}).items():
            if len(value) != DIGITS[kind]:
                raise ValueError(f"a digest {kind} has {DIGITS[kind]} hexadecimal digits")
        return self


class Subject(Resource):
    """What was built: it has a digest."""

    digest: Digest = Field(min_length=1)


class BuildDefinition(Form):
    """All that went into the build."""

    buildType: Uri  # noqa: N815
    externalParameters: dict[str, Any] = Field(min_length=1)  # noqa: N815
    internalParameters: dict[str, Any] | None = None  # noqa: N815
    resolvedDependencies: tuple[Resource, ...] | None = None  # noqa: N815


class Builder(Form):
    """Who built, and is to be trusted with it."""

    id: Uri
    builderDependencies: tuple[Resource, ...] | None = None  # noqa: N815
    version: dict[str, str] | None = None


class Metadata(Form):
    """When it was built."""

    invocationId: str | None = None  # noqa: N815
    startedOn: datetime | None = None  # noqa: N815
    finishedOn: datetime | None = None  # noqa: N815


class RunDetails(Form):
    """This one build."""

    builder: Builder
    metadata: Metadata | None = None
    byproducts: tuple[Resource, ...] | None = None


class Provenance(Form):
    """The predicate."""

    buildDefinition: BuildDefinition  # noqa: N815
    runDetails: RunDetails  # noqa: N815


class Statement(Form):
    """The statement: this predicate about these subjects."""

    type: Literal["https://in-toto.io/Statement/v1"] = Field(STATEMENT, alias="_type")
    subject: tuple[Subject, ...] = Field(min_length=1)
    predicateType: Literal["https://slsa.dev/provenance/v1"] = PREDICATE  # noqa: N815
    predicate: Provenance

    def as_json(self) -> bytes:
        """The statement as it is signed: JSON without the fields that are not given."""
        return self.model_dump_json(by_alias=True, exclude_none=True, indent=1).encode()
