"""The ledger of promotions: who decided what about which model, and which model is in use.

The entries are ``ledger/promotions/000001.json`` and on, each created once, each holding the
SHA-256 of the entry before it. The entry is the decision: MLflow's alias ``champion`` follows the
ledger and never leads it. The ledger does not need Airflow's database.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar, Literal

from pydantic import Field, ValidationError, model_validator

from tasks.engine.ledger import (
    SIGNING,
    Chain,
    Entry,
    check_signed,
    entry_files,
    entry_key,
    next_entry,
    parse_chain,
)
from tasks.engine.person import Person
from tasks.engine.signing import Keys, keys_here
from tasks.engine.store import Store
from tasks.errors import AlreadyExists, BadInput, Corrupt
from tasks.records.record import Frozen, LedgerHead, sha256

FOLDER = "ledger/promotions/"


class Model(Frozen):
    """A registered version, by what was judged. The tags in MLflow count for nothing here."""

    version: int = Field(description="Number of the version in MLflow, from 1.")
    run: str = Field(description="Address of the run whose evidence counts.")
    model_sha256: str = Field(description="SHA-256 of the ``.keras`` file.")
    threshold: float = Field(description="Melanoma probability from which on it is called, 0 to 1.")
    classes: tuple[str, ...] = Field(description="Order of the model's outputs.")
    evidence_sha256: str | None = Field(
        description="SHA-256 of the bundle's manifest; None for a version without evidence."
    )


class Asked(Frozen):
    """What must hold of the answers to a question."""

    approvals: int = Field(ge=1, le=2, description="Number of people who must approve.")
    different_from_trainer: bool = Field(
        description="Whether the people who answer for the training may not approve."
    )
    authenticated: bool = Field(description="Whether an answer needs a login.")
    one_person: bool = Field(
        description="Whether the installation has switched the second person off."
    )


class Question(Frozen):
    """A model that was put before people."""

    id: str = Field(description="Name of the question, such as the DAG run that asks.")
    model: Model = Field(description="The challenger.")
    champion: Model | None = Field(description="The model in use when the question was asked.")
    asked_by: Person = Field(description="Who put the question.")
    trained_by: tuple[Person, ...] = Field(description="Who answers for the training, where known.")
    did: str = Field("started the training", description="Why these people answer for it.")
    asked: Asked = Field(description="What must hold of the answers.")
    deadline: str | None = Field(description="Time until which an answer counts, UTC, ISO 8601.")
    subject: str = Field("", description="The question in one line, as people are shown it.")
    page: str = Field("", description="The evidence in Markdown, as people are shown it.")


class OwnPolicy(Frozen):
    """A policy of the installation's own. The entry holds its text, and outlives its file."""

    name: str = Field(description="Name of the policy, by its own words.")
    version: int = Field(description="Version of the policy, from 1.")
    sha256: str = Field(description="SHA-256 of the file's bytes, hex.")
    text: str = Field(description="The whole file; its UTF-8 bytes have this SHA-256.")
    nearest: str = Field(description="The released policy that differs least, name and version.")
    changes: tuple[str, ...] = Field(description="Each difference from `nearest`, in words.")

    @model_validator(mode="after")
    def _is_the_text_of_the_hash(self) -> "OwnPolicy":
        """What counts later is the hash, and what people read is the text."""
        if sha256(self.text.encode()) != self.sha256:
            raise ValueError("the text of the policy has another SHA-256")
        return self

    @property
    def in_words(self) -> str:
        return f"{self.name}, version {self.version}"


class PolicyQuestion(Frozen):
    """A policy of the installation's own that was put before people."""

    id: str = Field(description="Name of the question, such as the DAG run that asks.")
    policy: OwnPolicy = Field(description="The policy.")
    asked_by: Person = Field(description="Who put the question.")
    asked: Asked = Field(description="What must hold of the answers.")
    deadline: str | None = Field(description="Time until which an answer counts, UTC, ISO 8601.")
    subject: str = Field("", description="The question in one line, as people are shown it.")
    page: str = Field("", description="The policy in Markdown, as people are shown it.")

    trained_by: ClassVar[tuple[Person, ...]] = ()  # a policy is no model
    did: ClassVar[str] = ""


class Answer(Frozen):
    """A person's answer, also one that does not count."""

    question: str = Field(description="Name of the question.")
    option: Literal["approve", "reject"] = Field(description="The answer.")
    by: Person = Field(description="Who answered.")
    reason: str = Field(description="The person's reason, in the person's words.")
    at: str = Field(description="Time of the answer, UTC, ISO 8601.")
    refused: str = Field(description="Why the answer does not count; empty if the answer counts.")


class Closing(Frozen):
    """A question that needs no answer any more."""

    question: str = Field(description="Name of the question.")
    why: str = Field(description="Why the question was closed.")


class Promotion(Frozen):
    """An approved model that became the champion."""

    question: str = Field(description="Name of the question.")
    before: Model | None = Field(description="The champion before.")
    after: Model = Field(description="The champion from now on.")
    checks: tuple[str, ...] = Field(description="What was checked before, in words.")


class Rollback(Frozen):
    """An earlier champion that became the champion again."""

    by: Person = Field(description="Who decided.")
    reason: str = Field(description="The person's reason, in the person's words.")
    before: Model | None = Field(description="The champion before.")
    after: Model = Field(description="The champion from now on.")
    checks: tuple[str, ...] = Field(description="What was checked before, in words.")
    id: str = Field("", description="Name of the request, such as the DAG run; empty without one.")


class Adoption(Frozen):
    """The champion of a store from before this ledger."""

    after: Model | None = Field(description="The champion; None if there was none.")
    why: str = Field(description="Where the fact comes from.")


class Signing(Frozen):
    """A person who vouches, by the key that signs the entry, for all entries before."""

    by: Person = Field(description="Who vouches.")
    reason: str = Field(description="The person's reason, in the person's words.")
    vouched: str = Field(description="What the person vouches for in the store, in words.")


Fact = Question | PolicyQuestion | Answer | Closing | Promotion | Rollback | Adoption | Signing

KINDS: dict[str, type[Fact]] = {
    "question": Question,
    "policy": PolicyQuestion,
    "answer": Answer,
    "closing": Closing,
    "promotion": Promotion,
    "rollback": Rollback,
    "adoption": Adoption,
    SIGNING: Signing,
}

State = Literal["open", "approved", "rejected", "closed", "promoted"]


@dataclass(frozen=True)
class Promotions:
    """The ledger of promotions at one moment.

    Attributes:
        chain: The entries.
        facts: What each entry says, in order.
    """

    chain: Chain
    facts: tuple[Fact, ...]

    @property
    def _champions(self) -> list[Model | None]:
        moves = (each for each in self.facts if isinstance(each, Promotion | Rollback | Adoption))
        return [each.after for each in moves]

    @property
    def champion(self) -> Model | None:
        """The model in use."""
        return self._champions[-1] if self._champions else None

    @property
    def previous(self) -> Model | None:
        """The model that was in use before the present one; None without such a model."""
        earlier = [each for each in self._champions if each != self.champion]
        return earlier[-1] if earlier else None

    @property
    def earlier(self) -> list[Model]:
        """Every model that was in use and is not now, the last one first."""
        found = [each for each in reversed(self._champions) if each and each != self.champion]
        return list(dict.fromkeys(found))

    def champion_at(self, when: datetime) -> Model | None:
        """The model in use at a time."""
        found = None
        for entry, fact in zip(self.chain.entries, self.facts, strict=True):
            if isinstance(fact, Promotion | Rollback | Adoption):
                found = fact.after if datetime.fromisoformat(entry.at) <= when else found
        return found

    @property
    def about_models(self) -> bool:
        """Whether the ledger says anything about models, and not only about policies."""
        return any(
            isinstance(each, Question | Promotion | Rollback | Adoption) for each in self.facts
        )

    def question(self, name: str) -> Question | None:
        """The question of this name about a model."""
        return next((each for each in self.questions if each.id == name), None)

    def asked(self, name: str) -> Question | PolicyQuestion | None:
        """The question of this name, about a model or a policy."""
        found = (each for each in self.facts if isinstance(each, Question | PolicyQuestion))
        return next((each for each in found if each.id == name), None)

    def about(self, model_sha256: str) -> Question | None:
        """The last question about a model; None if nobody was asked."""
        found = [each for each in self.questions if each.model.model_sha256 == model_sha256]
        return found[-1] if found else None

    @property
    def questions(self) -> Iterator[Question]:
        """The questions about models, in their order."""
        return (each for each in self.facts if isinstance(each, Question))

    @property
    def policies(self) -> list[PolicyQuestion]:
        """The questions about policies, in their order."""
        return [each for each in self.facts if isinstance(each, PolicyQuestion)]

    def approved_policy(self, digest: str) -> PolicyQuestion | None:
        """The question by which people approved the policy of this SHA-256; None without one."""
        about = (each for each in self.policies if each.policy.sha256 == digest)
        return next((each for each in about if self.state(each) == "approved"), None)

    def check_unique(self, name: str, version: int, digest: str) -> None:
        """Check that people approved no policy of this name and version with another SHA-256.

        Raises:
            BadInput: They did.
        """
        for each in self.policies:
            same = (each.policy.name, each.policy.version) == (name, version)
            if same and each.policy.sha256 != digest and self.state(each) == "approved":
                raise BadInput(
                    "The policy was changed under its own name and version.",
                    expected=f"{each.policy.in_words}, SHA-256 {each.policy.sha256}, as people "
                    "approved it",
                    received=f"SHA-256 {digest}",
                    do="raise the version in the changed file, and have it approved; or restore "
                    "the file: the ledger of promotions holds its text",
                )

    def answers(self, question: str) -> list[Answer]:
        """The answers to a question that count."""
        found = (each for each in self.facts if isinstance(each, Answer))
        return [each for each in found if each.question == question and not each.refused]

    def closing(self, question: str) -> Closing | None:
        """Why a question is closed; None while it is not."""
        found = (each for each in self.facts if isinstance(each, Closing))
        return next((each for each in found if each.question == question), None)

    def promotion(self, question: str) -> Promotion | None:
        """The promotion that a question led to."""
        found = (each for each in self.facts if isinstance(each, Promotion))
        return next((each for each in found if each.question == question), None)

    def state(self, question: Question | PolicyQuestion) -> State:
        """What has become of a question."""
        answers = self.answers(question.id)
        if self.promotion(question.id):
            return "promoted"
        if any(each.option == "reject" for each in answers):
            return "rejected"
        if self.closing(question.id):
            return "closed"
        return "approved" if len(answers) >= question.asked.approvals else "open"

    @property
    def open(self) -> list[Question]:
        """The questions that still can lead to a promotion, about models."""
        return [each for each in self.questions if self.state(each) in ("open", "approved")]


def promotions_in(
    store: Store, heads: tuple[LedgerHead, ...] = (), keys: Keys | None = None
) -> Promotions:
    """Read the ledger of promotions.

    Args:
        store: The store.
        heads: Heads that MLflow holds; the ledger must continue each of them.
        keys: Whose signatures are accepted; None for the keys of this process.

    Raises:
        Corrupt: An entry is missing or changed, or a head is not in the ledger; or there is a key,
            and nobody vouches for an entry.
    """
    chain = parse_chain(entry_files(store, FOLDER), FOLDER)
    check_signed(chain, keys or keys_here(), store, FOLDER)
    for head in heads:
        if not chain.holds(head):
            raise Corrupt(
                "The ledger of promotions was cut short or replaced.",
                expected=f"entry {head.number} with SHA-256 {head.sha256}, which MLflow names",
                received=f"{len(chain.entries)} entries, without this one",
                do=f"restore the folder {FOLDER} of the store from a backup, whole; nobody knows "
                "otherwise which model was approved",
            )
    return Promotions(chain, tuple(map(_fact, chain.entries)))


def _fact(entry: Entry) -> Fact:
    try:
        return KINDS[entry.kind].model_validate(entry.content)
    except (KeyError, ValidationError) as error:
        raise Corrupt(
            f"Entry {entry.number} of the ledger of promotions cannot be read.",
            expected=f"one of {', '.join(KINDS)}, as this version of the program writes them",
            received=f"{entry.kind[:40]!r}: {' '.join(str(error).split())[:200]}",
            do="use the version of the program that wrote it, or restore the folder from a backup",
        ) from error


def append(
    store: Store,
    run: str,
    said: Callable[[Promotions], Fact | None],
    keys: Keys | None = None,
) -> Promotions:
    """Add one entry. If another process was faster, look at its entry and decide again.

    Args:
        store: The store.
        run: Name of the run that the entry is about; empty if it is about none.
        said: What to add, from the ledger as it stands; None to add nothing. It raises if the
            ledger no longer allows the entry, so nothing can come between check and entry.
        keys: As for `promotions_in`.

    Returns:
        The ledger with the entry.
    """
    while True:
        now = promotions_in(store, keys=keys)
        fact = said(now)
        if fact is None:
            return now
        kind = next(name for name, of in KINDS.items() if type(fact) is of)
        entry = next_entry(now.chain, kind, run, fact.model_dump(mode="json"), FOLDER)
        try:
            store.create(entry_key(entry.number, FOLDER), entry.data)
        except AlreadyExists:
            continue
        return Promotions(Chain((*now.chain.entries, entry)), (*now.facts, fact))


def now_utc() -> str:
    """The time now, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def no_question(name: str) -> BadInput:
    """The error for a question that the ledger does not hold."""
    return BadInput(
        "Nobody was asked.",
        expected="a question in the ledger of promotions",
        received=f"no question {name!r}",
        do="put the model before a person: `python -m tasks decide`, or the DAG melanoma_promotion",
    )
