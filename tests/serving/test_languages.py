"""The texts of the page: the same in each language, and how each language writes figures."""

import re
from string import Formatter

import pytest

from tasks.errors import BadInput
from tasks.lesions import DIAGNOSES
from tasks.records.refusals import GROUNDS
from tasks.serving.languages import language_of, languages, texts_in
from tasks.serving.page import PAGES

EN = texts_in("en")


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("language", languages())
def test_each_language_has_the_same_texts_with_the_same_values(language: str) -> None:
    texts = texts_in(language).words

    assert texts.keys() == EN.words.keys()
    assert [key for key in texts if placeholders(texts[key]) != placeholders(EN.words[key])] == []
    assert [key for key, text in texts.items() if not text.strip() and "thousands" not in key] == []
    assert len(texts["format.months"].split()) == 12


def test_a_text_that_lacks_a_value_would_be_found() -> None:
    assert placeholders("of {n} lesions") != placeholders("of lesions")


@pytest.mark.parametrize("language", languages())
def test_each_class_and_each_ground_has_words(language: str) -> None:
    words = texts_in(language).words

    assert {f"diagnosis.{name}" for name in DIAGNOSES} <= words.keys()
    assert len(GROUNDS) == 7
    assert {f"ground.{name}.{part}" for name in GROUNDS for part in ("what", "do")} <= words.keys()


def test_no_text_is_left_over() -> None:
    """Each key stands somewhere: whole, or its beginning before what is filled in."""
    sources = "".join(path.read_text() for path in PAGES.glob("*.j2"))
    for name in ("page", "sentences", "languages", "feedback_page"):
        sources += (PAGES.parent / f"{name}.py").read_text()
    whole = set(re.findall(r"\"([a-z_.]+)\"", sources))
    whole |= {f"{noun}.{number}" for noun in whole for number in ("one", "other")}
    script = (PAGES / "app.js").read_text()
    whole |= {f"script.{name}" for name in re.findall(r"\btexts\.(\w+)", script)}
    begun = tuple(re.findall(r"\"([a-z_]+\.[a-z_ .]*)(?:\" ~|{)", sources))

    def is_left_over(key: str) -> bool:
        return key not in whole and not key.startswith(begun)

    assert [key for key in EN.words if is_left_over(key)] == []
    assert is_left_over("form.kept")


def test_languages_write_numbers_and_days_in_their_own_way() -> None:
    assert [texts_in(each).percent(0.1234, 1) for each in ("en", "de", "fr")] == [
        "12.3\u00a0%",
        "12,3\u00a0%",
        "12,3\u202f%",
    ]
    assert [texts_in(each).count(4812) for each in ("en", "de", "fr")] == [
        "4,812",
        "4.812",
        "4\u202f812",
    ]
    assert texts_in("fr").day("2026-08-01T00:00:00+00:00") == "1 août 2026"
    assert texts_in("de").range(0.9136, 0.997) == "91 bis 100\u00a0%"
    assert EN.day("yesterday") == "yesterday"
    assert str(texts_in("fr").counted("images", 0)) == "0 image"
    assert str(EN.counted("images", 0)) == "0 images"


@pytest.mark.parametrize(
    ("asked", "language"),
    [
        (None, "en"),
        ("", "en"),
        ("de-CH, de;q=0.9, en;q=0.8", "de"),
        ("it, fr;q=0.4, de;q=0.3", "fr"),
        ("en;q=0.5, fr", "fr"),
        ("de;q=0", "en"),
        ("*", "en"),
        ("../../de", "en"),
        ("de;q=9", "en"),
        ("\x00, ;;;q=, fr;q=0.001", "fr"),
    ],
)
def test_the_reader_gets_the_language_that_the_browser_asks_for_most(
    asked: str | None, language: str
) -> None:
    assert language_of(asked) == language


def test_a_language_without_texts_is_bad_input_and_reads_no_file() -> None:
    with pytest.raises(BadInput, match="one of en, de, fr"):
        texts_in("../texts/en")
