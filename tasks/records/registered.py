"""The record of ``register``: the evidence of a run, and the version in the registry."""

from typing import ClassVar, Literal

from pydantic import Field

from tasks.records.record import Artifact, Record


class Registered(Record):
    """An MLflow model version."""

    # 1 kept no hash of the version's other files; in 2 every version became the challenger.
    FORMAT: ClassVar[int] = 3
    ADDED: ClassVar[tuple[str, ...]] = ("files", "passed_over")

    name: str = Field(description="Name of the registered model.")
    version: int = Field(description="Number of the version, from 1.")
    alias: Literal["challenger"] | None = Field(
        description="The alias that the version got; None if a better challenger waits."
    )
    newly: bool = Field(description="False if an earlier run already registered the same model.")
    model_sha256: str = Field(description="SHA-256 of the ``.keras`` file.")
    evidence: Artifact = Field(
        description="The manifest of this run's evidence, see `tasks.release.evidence`."
    )

    files: dict[str, str] = Field(
        {},
        description="SHA-256 of each file of the version's folder in MLflow, by path inside; "
        "empty in older records.",
    )
    passed_over: str = Field(
        "", description="Why the version did not become the challenger; empty if it did."
    )

    @property
    def reason_to_stop(self) -> str | None:
        if self.newly:
            return self.passed_over or None
        return f"nothing is new: this very model is already version {self.version} of {self.name}"
