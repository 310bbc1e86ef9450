"""A pipeline of small steps, with all that their results depend on within reach."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from tasks.config import Retraining
from tasks.engine.execute import execute
from tasks.engine.run import Run, open_run
from tasks.engine.store import Store
from tasks.errors import BadInput
from tasks.pipeline import Step
from tasks.records.record import Artifact, Record


class Drawn(Record):
    """Record of ``draw``: some bytes of its own and some that are shared."""

    own: Artifact
    shared: tuple[Artifact, ...]


class Counted(Record):
    """Record of ``count``."""

    bytes_counted: int
    table: Artifact

    @property
    def reason_to_stop(self) -> str | None:
        return "there is nothing to count" if self.bytes_counted == 0 else None


DRAW = Step(
    "draw", "", module="draw", needs=(), gives=Drawn, config=("seed",), libraries=("paint",)
)
COUNT = Step("count", "", module="count", needs=("draw",), gives=Counted, config=("epochs",))
ASK = Step("ask", "", module="ask", needs=("draw",), gives=Counted, reusable=False)


@dataclass
class World:
    """A pipeline of two small steps, with all that their results depend on within reach."""

    store: Store
    code: dict[str, str] = field(default_factory=lambda: {"draw": "1", "count": "1", "ask": "1"})
    libraries: dict[str, str] = field(default_factory=lambda: {"paint": "1.0"})
    calls: list[str] = field(default_factory=list)
    picture: bytes = b"a picture"
    during: Callable[[Run], None] = lambda run: None

    def run(self, name: str, **config: Any) -> Run:
        return open_run(f"{self.store.uri}/runs/{name}", Retraining(**config))

    def draw(self, run: Run) -> Drawn:
        self.calls.append("draw")
        own = run.keep("own.bin", self.picture)
        shared = run.share("pictures", b"shared " + self.picture, ".bin")
        self.during(run)
        return Drawn(own=own, shared=(shared,))

    def count(self, run: Run, drawn: Drawn) -> Counted:
        self.calls.append("count")
        n = len(run.fetch(drawn.own))
        return Counted(bytes_counted=n, table=run.keep("table.csv", b"n\n%d\n" % n))

    def ask(self, run: Run, drawn: Drawn) -> Counted:
        self.calls.append("ask")
        return Counted(bytes_counted=1, table=run.keep("answer", b"yes"))


def do(step: Step, run: Run) -> Any:
    """As the command line does it: a `Run` for each step."""
    return execute(step, replace(run, step=step.name, attempt=secrets.token_hex(4)))


def explained(error: BadInput) -> str:
    text = str(error)
    assert error.exit_code == 64
    for word in ("Expected:", "Received:", "Do:"):
        assert word in text
    return text


def flipped(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]
