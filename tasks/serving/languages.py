"""The texts of the app's page in each language, and how each language writes numbers and dates.

A language is one file, ``texts/<language>.yaml``. English is what a reader gets who asks for
none of the languages. Texts hold no markup; what stands between braces is filled in.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import yaml
from markupsafe import Markup, escape

from tasks import figures
from tasks.errors import BadInput

FOLDER = Path(__file__).parent / "texts"
ENGLISH = "en"
# Languages in which zero takes the singular (Unicode CLDR 45, plural rules: "one" is n = 0, 1).
SINGULAR_ZERO = {"fr"}


@dataclass(frozen=True)
class Texts:
    """The texts of one language.

    Attributes:
        language: Its code, ISO 639-1, such as ``de``.
        words: Each text by its key, such as ``ground.blurred.do``.
    """

    language: str
    words: Mapping[str, str]

    def say(self, key: str, **values: object) -> Markup:
        """A text with its values, both escaped for HTML.

        Args:
            key: Key of the text. KeyError for a key that no language has: a fault of the page.
            values: What stands between braces. A `Markup` stays as it is.
        """
        return Markup(escape(self.words[key])).format(**values)

    def counted(self, key: str, number: int) -> Markup:
        """A number with its noun: ``1 image``, ``8 images``. The key has ``one`` and ``other``."""
        one = number == 1 or (number == 0 and self.language in SINGULAR_ZERO)
        return self.say(f"{key}.{'one' if one else 'other'}", n=self.count(number))

    def named(self, diagnosis: str) -> str:
        """The name of a class of lesions; a class without a name here keeps the model's name."""
        return self.words.get(f"diagnosis.{diagnosis}", diagnosis)

    def count(self, number: int) -> str:
        return f"{number:,}".replace(",", self.words["format.thousands"])

    def percent(self, share: float, digits: int = 0) -> str:
        """A share; 99.6 % never becomes 100 %, and 0.4 % never becomes 0 %."""
        return self._written(figures.percent(share, digits))

    def range(self, lower: float, upper: float) -> str:
        """Both bounds of a share, rounded outwards, so that they do not claim too much."""
        low, high = self._written(figures.at_least(lower)), self._written(figures.at_most(upper))
        return str(self.say("format.range", low=low.removesuffix(self._percent), high=high))

    def day(self, moment: str) -> str:
        """The day of a moment.

        Args:
            moment: ISO 8601. Other text is shown as it is: it came from a record, and a page
                without its date would hide that the record is odd.
        """
        try:
            day = datetime.fromisoformat(moment)
        except ValueError:
            return moment
        months = self.words["format.months"].split()
        return str(self.say("format.day", day=day.day, month=months[day.month - 1], year=day.year))

    def moment(self, moment: str) -> str:
        """A moment to the minute, UTC; text that is no moment, as `day` shows it."""
        try:
            at = datetime.fromisoformat(moment).astimezone(UTC)
        except ValueError:
            return moment
        return f"{self.day(at.isoformat())}, {at:%H:%M} UTC"

    @property
    def _percent(self) -> str:
        return self.words["format.percent"]

    def _written(self, english: str) -> str:
        """A share that `tasks.figures` wrote, as this language writes it."""
        return english.replace(".", self.words["format.decimal"]).replace("\u00a0%", self._percent)


def texts_for(language: str | None, accept_language: str | None) -> Texts:
    """The texts of the language that a reader has chosen, else of the one that the browser asks
    for."""
    if language in languages():
        return texts_in(language)
    return texts_in(language_of(accept_language))


@cache
def languages() -> tuple[str, ...]:
    """The codes of all languages, English first."""
    return tuple(
        sorted((path.stem for path in FOLDER.glob("*.yaml")), key=lambda c: (c != ENGLISH, c))
    )


@cache
def texts_in(language: str) -> Texts:
    """The texts of a language.

    Raises:
        BadInput: There are no texts in this language.
    """
    if language not in languages():
        raise BadInput(
            "The page does not exist in this language.",
            expected=f"one of {', '.join(languages())}",
            received=language[:40] or "no language",
            do=f"ask for one of them, or add {FOLDER.name}/LANGUAGE.yaml",
        )
    content = yaml.safe_load((FOLDER / f"{language}.yaml").read_text(encoding="utf-8"))
    return Texts(language, dict(_flat(content)))


def _flat(content: Mapping[str, object], above: str = "") -> Iterator[tuple[str, str]]:
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", str(value)


def language_of(accept_language: str | None) -> str:
    """The language that a browser asks for most, of those that there are; else English.

    Args:
        accept_language: The header ``Accept-Language`` (RFC 9110, section 12.5.4). It is text of
            others: what does not follow the form is passed over.

    >>> language_of("it, de-CH;q=0.8, fr;q=0.9"), language_of("de;q=0"), language_of(None)
    ('fr', 'en', 'en')
    """
    wanted: dict[str, float] = {}
    for part in (accept_language or "")[:1000].split(","):
        found = re.fullmatch(
            r"\s*([A-Za-z]{1,8})(?:-[A-Za-z0-9-]+)?\s*(?:;\s*q=([01](?:\.\d{0,3})?)\s*)?", part
        )
        if found and found[1].lower() in languages():
            weight = min(float(found[2] or 1), 1)
            wanted[found[1].lower()] = max(weight, wanted.get(found[1].lower(), 0))
    best = max(wanted, key=lambda code: wanted[code], default=ENGLISH)
    return best if wanted.get(best) else ENGLISH
