"""Deaths of a process, in the process of the test."""

from dataclasses import dataclass, field

from tasks.engine.checkpoints import Checkpoints
from tasks.engine.store import Store


class Killed(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


@dataclass(frozen=True)
class Deadly(Checkpoints):
    """Checkpoints after each step; whoever keeps the last of them dies."""

    lives: int = 10**6
    kept: list[int] = field(default_factory=list)

    def save(self, number: int, data: bytes) -> None:
        super().save(number, data)
        self.kept.append(number)
        if len(self.kept) == self.lives:
            raise Killed


def checkpoints(store: Store, lives: int = 10**6) -> Deadly:
    return Deadly(store, "runs/a/train/checkpoints/x", minutes=0, lives=lives)
