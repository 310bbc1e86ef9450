"""The ledger of monitoring: what each drift test said, and each look at released diagnoses.

The entries are ``ledger/monitoring/000001.json`` and on, each created once, each holding the
SHA-256 of the entry before it, and signed where there is a key.
"""

from dataclasses import dataclass

from tasks.engine.ledger import (
    Chain,
    Entry,
    entry_files,
    entry_key,
    fact_of,
    next_entry,
    parse_chain,
)
from tasks.engine.store import Store
from tasks.errors import AlreadyExists
from tasks.monitoring.outcomes import Outcomes
from tasks.monitoring.watched import Watched

FOLDER = "ledger/monitoring/"
DRIFT_TEST = "drift test"
OUTCOMES = "outcomes"
KINDS: dict[str, type[Watched | Outcomes]] = {DRIFT_TEST: Watched, OUTCOMES: Outcomes}


@dataclass(frozen=True)
class History:
    """The ledger of monitoring at one moment.

    Attributes:
        chain: The entries.
        tests: What each drift test said, in order.
        outcomes: What each look at released diagnoses said, in order.
    """

    chain: Chain
    tests: tuple[Watched, ...]
    outcomes: tuple[Outcomes, ...] = ()

    @property
    def rows(self) -> list[tuple[Entry, Watched]]:
        """Each drift test with its entry, in order."""
        return list(zip(self.chain.of(DRIFT_TEST), self.tests, strict=True))

    def last_of(self, model_sha256: str, until: str) -> Watched | None:
        """The last test of a model that looked at hours before `until` alone; None without one.

        A test that is repeated within its hour, after a kill for example, so tells the same news.
        """
        found = self._before(model_sha256, until)
        return found[-1] if found else None

    def labelled_then(self, model_sha256: str, until: str) -> int | None:
        """New labelled lesions when a test of a model that looked at hours before `until` alone
        last started a retraining; None if none did."""
        found = [each for each in self._before(model_sha256, until) if each.retrain]
        return found[-1].new_labelled if found else None

    def _before(self, model_sha256: str, until: str) -> list[Watched]:
        own = (each for each in self.tests if each.model_sha256 == model_sha256)
        return [each for each in own if each.until < until]


def history_in(store: Store) -> History:
    """Read the ledger of monitoring.

    Raises:
        Corrupt: An entry is missing, changed or not understood.
    """
    chain = parse_chain(entry_files(store, FOLDER), FOLDER)
    facts = [fact_of(entry, KINDS, FOLDER) for entry in chain.entries]
    return History(
        chain,
        tuple(each for each in facts if isinstance(each, Watched)),
        tuple(each for each in facts if isinstance(each, Outcomes)),
    )


def enter(store: Store, watched: Watched) -> Watched:
    """Enter a test. A test of the same model and hours that says the same, and starts the same, is
    entered once: whoever repeats it, after a kill for example, gets what the first one said of news
    and new labels.

    Returns:
        The test as it stands in the ledger.
    """
    while True:
        now = history_in(store)
        bare = {"news": False, "new_labelled": None, "enough": 0, "labelled_then": None}
        for each in now.tests:
            if each.model_copy(update=bare) == watched.model_copy(update=bare):
                return each
        content = watched.model_dump(mode="json")
        entry = next_entry(now.chain, DRIFT_TEST, "", content, FOLDER)
        try:
            store.create(entry_key(entry.number, FOLDER), entry.data)
        except AlreadyExists:
            continue
        return watched
