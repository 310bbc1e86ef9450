"""Follow the champion: look at ledger and alias from time to time, and load what both name.

One snapshot at a time says what is in use. A request reads the snapshot once, so no answer mixes
two versions, and a switch drops no request.
"""

import logging
import threading
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from tasks.engine.store import Store
from tasks.errors import PipelineError
from tasks.registry.challenger import standing_challenger
from tasks.registry.champion import promotions_of, report_alias, version_of
from tasks.registry.versions import MODEL, Version, mlflow_client
from tasks.serving.in_use import Loaded, Standing, load

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Now:
    """What is in use at one moment.

    Attributes:
        champion: The model in use; None: no model is in use yet, or none could be loaded.
        challenger: The model that waits for a decision; None without one.
        problem: Why the champion is not the one that the ledger names; empty if it is.
        looked: When ledger and alias last agreed, UTC; None: never since the start.
    """

    champion: Loaded | None = None
    challenger: Loaded | None = None
    problem: str = "the registry was not asked yet"
    looked: datetime | None = None


@dataclass
class Follower:
    """Keeps `now` up to date.

    Args:
        store: The store, whose ledger of promotions names the champion.
        seconds: Time between two looks.
        prevalence: As for `tasks.serving.in_use.load`.
    """

    store: Store
    seconds: float = 10.0
    prevalence: float | None = None
    now: Now = field(default_factory=Now)
    _ended: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Look once, then from time to time in a thread of its own."""
        self.look()
        self._thread = threading.Thread(target=self._follow, name="follow", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._ended.set()
        if self._thread:
            self._thread.join()

    def _follow(self) -> None:
        while not self._ended.wait(self.seconds):
            self.look()

    def look(self) -> None:
        """Look at ledger and alias, and load what they name. Whatever fails, the last good model
        stays in use, and `Now.problem` says why."""
        try:
            with mlflow_client(self.store) as client:
                now = self._next(client)
        except PipelineError as error:
            now = replace(self.now, problem=in_short(error))
        except Exception as error:  # a thread that died would leave an old model in use, in silence
            log.exception("The champion could not be followed.")
            now = replace(self.now, problem=f"{type(error).__name__}: {error}"[:300])
        if now.problem and now.problem != self.now.problem:
            log.warning("The champion could not be followed: %s", now.problem)
        self.now = now

    def _next(self, client: Any) -> Now:
        said = promotions_of(client, self.store).champion
        differs = report_alias(client, said)
        if differs:
            return replace(self.now, problem=differs)
        champion = None
        if said is not None:
            try:
                version = version_of(client, said)
                champion = self._loaded(client, version, "champion", self.now.champion)
            except PipelineError as error:
                why = (
                    f"version {said.version} is the champion and cannot be used: {in_short(error)}"
                )
                return replace(self.now, problem=why)
        challenger, told = self._challenger(client)
        return Now(champion, challenger, told, datetime.now(UTC))

    def _challenger(self, client: Any) -> tuple[Loaded | None, str]:
        """The challenger, and why there is none although one waits. It never stops the champion."""
        try:
            waiting = standing_challenger(client, self.store)
            if waiting is None:
                return None, ""
            return self._loaded(client, waiting, "challenger", self.now.challenger), ""
        except PipelineError as error:
            return None, f"the challenger cannot be shown: {in_short(error)}"

    def _loaded(
        self, client: Any, version: Version, standing: Standing, before: Loaded | None
    ) -> Loaded:
        same = (version.number, version.model_sha256)
        if before and (before.facts.version, before.facts.sha256) == same:
            return before
        found = load(client, version, standing, self.prevalence)
        log.info("Version %d of %s, the %s: %s.", version.number, MODEL, standing, found.checked)
        return found


def in_short(error: PipelineError) -> str:
    """An error in one line: what is wrong, and what was received instead."""
    problem, received = getattr(error, "problem", ""), getattr(error, "received", "")
    return f"{problem} {received}".strip() if problem else str(error).splitlines()[0]
