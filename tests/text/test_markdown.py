"""No text of a delivery becomes anything but text on a page of Markdown."""

import re
import tarfile
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token
from pydantic import BaseModel

from tasks.engine.person import Person
from tasks.engine.run import read_record
from tasks.engine.storage import open_store
from tasks.pipeline import PIPELINE
from tasks.registry.promotions import Asked, Model, Question
from tasks.release import question_page
from tasks.release.card import model_card
from tasks.text.lines import visible
from tasks.text.markdown import WORD_JOINER, code, plain
from tests.support.judged import MELANOMA_POLICY
from tests.support.paths import FIXTURES

HOSTILE = (
    *(
        "![x](http://evil.example/p.png)",
        "[click](http://evil.example)",
        "<img src=//evil.example>",
    ),
    *(
        "http://evil.example",
        "HTTPS://EVIL.EXAMPLE/a?b",
        "www.evil.example",
        "evil.com",
        "a@b.example",
    ),
    *("mailto:a@b.example", "//localhost/x", "ftp://a.example", "@octocat", "<http://a.example>"),
    *(
        "# heading",
        "a\n# heading",
        "a\n===",
        "a\r\n---",
        "a\u2028# b",
        "- item",
        "+ a",
        "1. one",
        "2) b",
    ),
    *(
        "a | b",
        "|---|---|",
        "`a`",
        "``",
        "a\\",
        "\\|",
        "**gate passed**",
        "__x__",
        "~~x~~",
        "&lt;b&gt;",
    ),
    *(
        "&#60;b>",
        "[^1]",
        "[a]: http://a.example",
        "<!-- ",
        "    code",
        "\t# x",
        "```\nx",
        "> quote",
    ),
    *(
        "s3://bucket/key",
        "xmpp:a@b.example",
        "\u202egpj.exe",
        "\x1b[2J",
        "- [ ] task",
        "C:\\x",
        ":-:",
    ),
)
MARKS = st.sampled_from(
    [*"![](){}<>#*_~`|\\&;:/@.-+= \n\r\t19ax", "http://", "www.", ".com", "://"]
)
text = st.text() | st.lists(MARKS, max_size=12).map("".join) | st.sampled_from(HOSTILE)

# Airflow's page finds these in the finished text (mdast-util-gfm-autolink-literal), MLflow's too.
ADDRESSES = (
    r"(https?://|www(?=\.))([-.\w]+)([^ \t\r\n]*)",
    r"([-.\w+]+)@([-\w]+(?:\.[-\w]+)+)",
    r"(https?|ftp|dict)://",
    r"(^|\s)@[a-z\d]",
)


def page(words: str, address: str) -> str:
    """A page as ours are, with the same text in every place where a delivery's stands."""
    here = plain(words)
    return "\n".join(
        [
            *("# Title", "", f"**Model** {here}, version 1; {here}", "", here, ""),
            *("| figure | value |", "|---|---|", f"| {here} | {here} |", ""),
            *(f"- {here}", f"- **pass** {here}.", "", f"Evidence: {code(address)}", "", here),
        ]
    )


def tokens(markdown: str) -> Iterator[Token]:
    parser = MarkdownIt("commonmark", {"linkify": True}).enable(
        ["table", "strikethrough", "linkify"]
    )
    for token in parser.parse(markdown):
        yield token
        yield from token.children or ()


def shown(words: str) -> str:
    """What a person is to see: all of it, in one line."""
    return visible(re.sub(r"\s+", " ", words)).strip(" ")


@given(text, text)
@example("evil.com", "`")
def test_text_of_others_is_shown_as_it_is_and_is_nothing_else(words: str, address: str) -> None:
    found = list(tokens(page(words, address)))
    kinds = [each.type for each in found]

    assert not {"image", "link_open", "html_inline", "html_block", "s_open"} & set(kinds)
    assert not {"fence", "code_block", "blockquote_open", "ordered_list_open", "hr"} & set(kinds)
    counts = {kind: kinds.count(kind) for kind in ("heading_open", "td_open", "list_item_open")}
    assert counts == {"heading_open": 1, "td_open": 2, "list_item_open": 2}
    assert (kinds.count("strong_open"), kinds.count("em_open")) == (2, 0)
    cells = [found[at + 1] for at, kind in enumerate(kinds) if kind == "td_open"]
    for cell in cells:
        parts = "".join(each.content for each in cell.children or ())
        assert parts.replace(WORD_JOINER, "") == shown(words)
    (kept,) = [each.content for each in found if each.type == "code_inline"]
    assert kept.strip(" ") == shown(address)


@given(text)
def test_no_address_is_left_to_be_found_in_the_finished_text(words: str) -> None:
    for token in tokens(page(words, "")):
        if token.type == "inline":
            # Joined: nothing but text lies between two pieces of one text.
            finished = "".join(each.content for each in token.children or ())
            for pattern in ADDRESSES:
                assert not re.search(pattern, finished, re.I | re.A), finished


@pytest.mark.parametrize(
    "words", ["ISIC_0024306", "0.834 (0.801 to 0.902)", "nevus", "3 of 4, 75 %"]
)
def test_what_is_harmless_stays_as_it_is(words: str) -> None:
    assert plain(words) == words


# The pages themselves ----------------------------------------------------------------------------


def poisoned(value: Any, words: str) -> Any:
    """A record whose every text that may come from a delivery, keys too, is another."""
    if isinstance(value, BaseModel):
        held = {name: poisoned(each, words) for name, each in value.__dict__.items()}
        return type(value).model_construct(**held | _kept(value))
    if isinstance(value, dict):
        return {
            key if key in ("train", "validation", "test") else f"{number} {words}": poisoned(
                each, words
            )
            for number, (key, each) in enumerate(value.items())
        }
    if isinstance(value, tuple):
        return tuple(poisoned(each, words) for each in value)
    return words if isinstance(value, str) else value


def _kept(value: BaseModel) -> dict[str, Any]:
    """What decides which page there is, and cannot come from a delivery."""
    names = {
        "PolicyReference": ("name", "version"),
        "Provenance": ("config",),
        "Verdict": ("decision",),
        "Rule": ("decision",),
    }
    return {name: getattr(value, name) for name in names.get(type(value).__name__, ())}


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Of a run that registered its model; without what only MLflow could say."""
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(FIXTURES / "store_of_format_1.tar.xz") as packed:
        packed.extractall(folder, filter="data")
    store = open_store(str(folder / "store"))
    (run,) = {entry.key.split("/")[1] for entry in store.list("runs/")}
    return {step.name: read_record(store, run, step.name) for step in PIPELINE}


def structure(markdown: str) -> Counter[str]:
    """How often each kind of thing but text stands on a page."""
    return Counter(
        token.type for token in tokens(markdown) if token.type not in ("text", "text_special")
    )


QUESTION = Question(
    id="q",
    model=Model(
        version=2, run="", model_sha256="0" * 64, threshold=0.5, classes=("melanoma",),
        evidence_sha256="0" * 64,
    ),
    champion=None,
    asked_by=Person(name="", how="event", authenticated=False),
    trained_by=(),
    asked=Asked(approvals=1, different_from_trainer=True, authenticated=False, one_person=False),
    deadline=None,
)  # fmt: skip


@pytest.mark.parametrize("words", HOSTILE)
def test_no_record_changes_the_structure_of_the_page_of_approval(
    records: dict[str, Any], monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    step_of = {step.gives: step.name for step in PIPELINE}

    def read(text: str) -> str:
        def poisoned_record(_: Any, of: Any) -> Any:
            return poisoned(records[step_of[of]], text)

        monkeypatch.setattr(question_page, "record_of", poisoned_record)
        monkeypatch.setattr(question_page, "signature_in_words", lambda bundle: "Unsigned.")
        asked = QUESTION.model.model_copy(update={"run": "/a store/runs/first"})
        person = Person(name=text, how="Airflow", authenticated=True)
        question = QUESTION.model_copy(update={"model": asked, "trained_by": (person,)})
        return question_page.page(question)

    assert structure(read(words)) == structure(read("harmless"))
    assert plain(f"{words} (Airflow)") in read(words)


@pytest.mark.parametrize("words", HOSTILE)
def test_no_record_changes_the_structure_of_a_model_card(
    records: dict[str, Any], words: str
) -> None:
    def card(text: str) -> str:
        policy = MELANOMA_POLICY.model_copy(update={"intended_use": text})
        held = {name: poisoned(each, text) for name, each in records.items()}
        return model_card("first", held, policy)

    assert structure(card(words)) == structure(card("harmless"))
