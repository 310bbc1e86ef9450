"""The page of the app: pure functions from answers and facts to HTML.

Addresses that the page asks for, below its prefix:

    GET  /?language=de           the page
    POST /                       the page with the answer, of a browser without JavaScript
    POST /page/answer            the answer alone: `result`, or `failure` with the error's status
    GET  /page/app.css           its looks
    GET  /page/app.js            its behaviour
    GET  /page/report/<version>  the report of a version

Fields of both forms, multipart: ``images`` (1 to 8 files; a browser sends an empty file of no name
where none was chosen), ``language``, ``attention``, ``beside`` and ``consent`` (``true``, or
absent), ``example`` (the name of an example, in place of images). The pages of feedback are in
`tasks.serving.feedback_page`.

Names of sets, runs and files, and all other text of a record, are hostile input, so the templates
escape them. The page holds neither scripts nor styles of its own, and fetches nothing from outside:
``default-src 'self'; img-src 'self' data: blob:`` is enough.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tasks.lesions import MELANOMA
from tasks.serving import sentences
from tasks.serving.answer import Answer, ModelFacts
from tasks.serving.languages import ENGLISH, Texts, languages, texts_in
from tasks.text.lines import visible

PAGES = Path(__file__).parent / "pages"
MOST_IMAGES = 8  # of one lesion, in one question


@dataclass(frozen=True)
class Example:
    """A drawn lesion that a visitor can ask about.

    Attributes:
        name: What the form sends in ``example``.
        address: Address of its image, as the browser asks for it.
        label: The class that the lesion was drawn as.
    """

    name: str
    address: str
    label: str


def page(
    texts: Texts,
    *,
    model: ModelFacts | None,
    waiting: ModelFacts | None,
    problem: str,
    examples: Sequence[Example],
    prefix: str,
    answer: Answer | None = None,
    beside: Answer | None = None,
    error: str = "",
    shown: Sequence[str] = (),
    drawn: bool = False,
    feedback: bool = False,
) -> str:
    """The whole page, as HTML.

    Args:
        texts: In the language of the reader.
        model: The model in use; None if there is none.
        waiting: The challenger that waits for a decision; None if there is none.
        problem: Why it is not certain which model is in use, in English; empty if it is certain.
        examples: Drawn lesions to ask about.
        prefix: Path of the app behind a proxy, without a slash at its end; empty at the root.
        answer: The answer to a question that was asked without JavaScript.
        beside: The challenger's answer to the same question.
        error: Why the question was not answered, in English.
        shown: Data URL of each image that was sent, in the order of the images.
        drawn: Whether the question was about an example.
        feedback: Whether images are kept here where a patient has agreed.
    """
    fragment = Markup()
    if error:
        fragment = Markup(failure(texts, error))
    elif answer:
        fragment = Markup(result(texts, answer, beside, shown, prefix=prefix, drawn=drawn))
    return rendered(
        "page.html.j2",
        texts,
        model=model,
        waiting=waiting,
        problem=problem,
        examples=examples,
        prefix=prefix,
        fragment=fragment,
        here="/",
        feedback=feedback,
        script=_texts_of_the_script(texts),
    )


def result(
    texts: Texts,
    answer: Answer,
    beside: Answer | None,
    shown: Sequence[str],
    *,
    prefix: str = "",
    drawn: bool = False,
) -> str:
    """The answer alone, as HTML that the page puts in its place; arguments as of `page`."""
    return rendered(
        "result.html.j2",
        texts,
        answers=[answer, beside] if beside else [answer],
        shown=shown,
        prefix=prefix,
        drawn=drawn,
    )


def failure(texts: Texts, error: str) -> str:
    """Why a question was not answered, as HTML that the page puts in the place of an answer.

    Args:
        texts: In the language of the reader.
        error: The reason, in English; each line is shown on a line of its own.
    """
    return rendered("failure.html.j2", texts, error=error)


def rendered(template: str, texts: Texts, **values: Any) -> str:
    """A template of the folder ``pages``, filled in, as HTML.

    Args:
        template: Name of its file.
        texts: In the language of the reader.
        values: What the template needs; a missing one is an error.
    """
    shared = {
        "texts": texts,
        "sentences": sentences,
        "melanoma": MELANOMA,
        "english": ENGLISH,
        "languages": [texts_in(code) for code in languages()],
        "fingerprint": _fingerprint,
    }
    return _environment().get_template(template).render(**shared, **values)


def in_fours(lesion: str) -> list[str]:
    """The number of a lesion in groups of four, which a person can read and copy by hand."""
    return [lesion[at : at + 4] for at in range(0, len(lesion), 4)]


@cache
def _environment() -> Environment:
    """The environment of the templates, with the filters that they use."""
    environment = Environment(
        loader=FileSystemLoader(PAGES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "visible": visible,
        "in_fours": in_fours,
        "lines": lambda text: "\n".join(visible(line) for line in text.splitlines()),
    }
    return environment


@cache
def _fingerprint(name: str) -> str:
    """The beginning of a static file's SHA-256, so that no browser keeps an older file."""
    return sha256((PAGES / name).read_bytes()).hexdigest()[:12]


def _texts_of_the_script(texts: Texts) -> dict[str, object]:
    words = {
        key.removeprefix("script."): text
        for key, text in texts.words.items()
        if key.startswith("script.")
    }
    return {**words, "most": MOST_IMAGES}
