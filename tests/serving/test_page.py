"""The page of the app as HTML: what it tells in each state, in each language, escaped."""

import re
from html.parser import HTMLParser

import pytest

from tasks.records.refusals import GROUNDS
from tasks.serving import sentences
from tasks.serving.answer import Answer, Counted, Judged, ModelFacts, PredictiveValue
from tasks.serving.languages import Texts, languages, texts_in
from tasks.serving.page import Example, failure, page, result
from tests.support.app_answers import (
    CANCER,
    CHALLENGER,
    CHAMPION,
    HARMLESS,
    OWN,
    answered,
    refused,
    shown,
)

EN = texts_in("en")
HOSTILE = "\"><script>alert('x')</script>{n}\u202e"


def shown_page(
    *,
    texts: Texts = EN,
    model: ModelFacts | None = CHAMPION,
    waiting: ModelFacts | None = None,
    problem: str = "",
    examples: tuple[Example, ...] = (),
    prefix: str = "",
    answer: Answer | None = None,
    beside: Answer | None = None,
    error: str = "",
) -> str:
    return page(
        texts,
        model=model,
        waiting=waiting,
        problem=problem,
        examples=examples,
        prefix=prefix,
        answer=answer,
        beside=beside,
        error=error,
    )


def text_of(html: str) -> str:
    """What a person reads, in one line."""

    class Reader(HTMLParser):
        told: list[str]

        def handle_data(self, data: str) -> None:
            self.told.append(data)

    reader = Reader()
    reader.told = []
    reader.feed(html)
    return re.sub(r"[ \n]+", " ", "".join(reader.told))


# The answer ---------------------------------------------------------------------------------------


def test_melanoma_is_told_with_probability_threshold_and_predictive_value() -> None:
    told = text_of(result(EN, answered(), None, shown()))

    assert "Melanoma suspected" in told
    assert (
        "Probability of melanoma: 23\u00a0%. This model suspects melanoma from 8\u00a0% on." in told
    )
    assert (
        "Of 100 lesions that it suspects here, about 11 are melanomas (8 to 17), if 4\u00a0% of all"
        in told
    )
    assert "not ruled out" not in told
    assert told.count("that it suspects here") == 1


def test_figures_are_told_with_their_bounds_own_and_external() -> None:
    told = text_of(result(EN, answered(), None, ()))

    assert (
        "On its own test part it found 79 of 81 melanomas (91 to 100\u00a0%) and cleared 100 of 148"
        " other lesions (59 to 76\u00a0%)." in told
    )
    assert (
        "On images of another hospital (ph2) it found 39 of 39 melanomas (90 to 100\u00a0%) and"
        " cleared 48 of 160 other lesions (23 to 38\u00a0%)." in told
    )


def test_not_melanoma_is_never_told_without_what_was_missed() -> None:
    told = text_of(
        result(EN, answered(decision="not melanoma", probabilities=HARMLESS), None, shown())
    )

    assert "No suspicion of melanoma" in told
    assert (
        "Melanoma is not ruled out: the model missed 2 of 81 melanomas of its own test part"
        " (0 to 9\u00a0%). Of another hospital (ph2) it missed 0 of 39 (0 to 10\u00a0%)." in told
    )
    assert "cancer" not in told
    unknown = answered(
        decision="not melanoma",
        probabilities=HARMLESS,
        model=CHAMPION.model_copy(update={"judged": ()}),
    )
    told = text_of(result(EN, unknown, None, ()))
    assert "How many melanomas the model misses is not known." in told
    assert "No figures are recorded for this model." in told


def test_a_cancer_other_than_melanoma_is_told_first_and_does_not_look_harmless() -> None:
    cancer = answered(decision="not melanoma", probabilities=CANCER)
    precursor = answered(
        decision="not melanoma", probabilities={"melanoma": 0.01, "actinic keratosis": 0.9}
    )
    harmless = answered(decision="not melanoma", probabilities=HARMLESS)

    assert [text_of(sentences.leads(EN, each)[0]) for each in (cancer, precursor)] == [
        "Most probable is Basal cell carcinoma (73\u00a0%), a kind of cancer.",
        "Most probable is Actinic keratosis (90\u00a0%), which can become a cancer.",
    ]
    assert 'class="call serious"' in result(EN, cancer, None, ())
    assert 'class="call cleared"' in result(EN, harmless, None, ())
    # Who suspects melanoma has no need of a lesser alarm.
    suspected = cancer.model_copy(update={"decision": "melanoma"})
    assert 'class="call suspected"' in result(EN, suspected, None, ())


def test_a_model_that_was_never_judged_elsewhere_says_so() -> None:
    own_only = CHAMPION.model_copy(update={"judged": (OWN,)})

    assert "right elsewhere is not known" in text_of(result(EN, answered(model=own_only), None, ()))
    assert "right elsewhere is not known" not in text_of(result(EN, answered(), None, ()))


@pytest.mark.parametrize("language", languages())
def test_a_set_without_melanomas_or_without_others_is_told_without_their_share(
    language: str,
) -> None:
    none = Counted(successes=0, n=0, lower=0.0, upper=1.0)
    texts = texts_in(language)
    for where in ("", "ph2"):
        melanomas = Judged(where=where, found=OWN.found, cleared=none)
        others = Judged(where=where, found=none, cleared=OWN.cleared)
        facts = CHAMPION.model_copy(update={"judged": (melanomas, others)})
        told = [text_of(each) for each in sentences.worth(texts, facts)]
        assert "79" in told[0]
        assert "100" in told[1]
        assert not [each for each in told if re.search(r"\b0 (of|von|sur) 0\b", each)]


def test_probability_and_threshold_that_round_alike_get_more_digits() -> None:
    assert sentences.compared(EN, 0.0841, 0.0823) == ("8.4\u00a0%", "8.2\u00a0%")
    assert sentences.compared(EN, 0.23, 0.08) == ("23\u00a0%", "8\u00a0%")
    assert sentences.compared(EN, 0.08, 0.08) == ("8.0000\u00a0%", "8.0000\u00a0%")


def test_a_rare_melanoma_is_counted_among_more_lesions() -> None:
    rare = PredictiveValue(prevalence=0.0004, value=0.0021, lower=0.0011, upper=0.0042)

    assert text_of(sentences.predictive(EN, rare)).startswith(
        "Of 1,000 lesions that it suspects here, about 2 are melanomas (1 to 5)"
    )


def test_melanoma_stands_first_among_the_bars_and_each_bar_has_its_figure() -> None:
    html = result(EN, answered(), None, ())
    names = re.findall(r'class="name">([^<]+)<', html)
    widths = re.findall(r'class="fill" width="([\d.]+)%"', html)

    assert names[:2] == ["Melanoma", "Nevus"]
    assert len(names) == 9
    assert widths[:2] == ["23.10", "60.40"]
    assert re.findall(r'class="asked" x="([\d.]+)%"', html) == ["8.20"]


@pytest.mark.parametrize("language", languages())
@pytest.mark.parametrize("ground", GROUNDS)
def test_a_refusal_names_its_ground_and_what_to_do(language: str, ground: str) -> None:
    texts = texts_in(language)
    answer = refused(ground)  # type: ignore[arg-type]  # one of the grounds
    told = text_of(result(texts, answer, None, shown()))

    assert texts.words["decision.cannot judge.one"] in told
    assert texts.words[f"ground.{ground}.what"] in told
    assert texts.words[f"ground.{ground}.do"] in told
    assert "sharpness 3.1, at least 8 is needed" in told
    assert texts.words["probabilities.heading"] not in told


def test_of_several_images_the_refused_one_is_named() -> None:
    told = text_of(result(EN, refused("blurred", "too dark", images=3), None, shown(3)))

    assert "I cannot judge these images" in told
    assert "Image 2 · The image is too dark" in told
    assert "Image 3" not in told


def test_a_map_has_a_text_in_its_place() -> None:
    html = result(EN, answered(images=2, attention=True), None, shown(2))

    assert "Map over image 2: red where the image speaks for melanoma" in html
    assert "The mean over 2 images." in text_of(html)
    assert "Where the model looked" not in result(EN, answered(), None, shown())


def test_champion_stands_first_beside_the_challenger_which_is_marked() -> None:
    beside = answered(model=CHALLENGER, decision="not melanoma", probabilities=HARMLESS)
    told = text_of(result(EN, answered(), beside, shown()))

    assert "The models decide differently. Only the model in use counts." in told
    assert told.index("Version 7 · In use") < told.index("Version 8 · Challenger, not in use")
    assert "Nobody has approved this model." in told
    assert "Both models decide the same." in text_of(
        result(EN, answered(), answered(model=CHALLENGER), ())
    )
    assert "Nobody has approved" not in text_of(result(EN, answered(), None, ()))


def test_the_number_of_kept_images_leads_to_their_page() -> None:
    html = result(EN, answered(lesion="4f2a09c177deb310"), None, (), prefix="/clinic")

    assert "4f2a09c177deb310" in text_of(html)  # the gaps are no text, so a copy has none
    assert 'href="/clinic/feedback/4f2a09c177deb310?language=en"' in html
    assert "Write this number into the patient" in text_of(html)
    assert "/feedback" not in result(EN, answered(), None, ())


def test_images_that_could_not_be_kept_are_told_with_the_answer() -> None:
    html = result(texts_in("de"), answered(not_kept=f"No space left {HOSTILE}"), None, ())

    assert "Nichts wurde aufbewahrt" in text_of(html)
    assert 'lang="en">No space left' in html
    assert "Verdacht auf Melanom" in text_of(html)
    assert "<script>" not in html
    assert "aufbewahrt" not in text_of(result(texts_in("de"), answered(), None, ()))


# The page -----------------------------------------------------------------------------------------


def test_the_page_tells_the_model_in_use_and_links_its_report() -> None:
    html = shown_page(prefix="/clinic")
    told = text_of(html)

    for each in ("7 · In use", "28 November 2026", "4,812 images", "best", "8.2\u00a0%", "5b" * 8):
        assert each in told
    assert 'href="/clinic/page/report/7"' in html
    assert 'action="/clinic/#result"' in html
    assert 'data-answer="/clinic/page/answer"' in html
    assert re.search(r'href="/clinic/page/app\.css\?[0-9a-f]{12}"', html)


def test_every_address_stands_below_the_prefix() -> None:
    html = shown_page(
        prefix="/a/b", waiting=CHALLENGER, answer=answered(), beside=answered(model=CHALLENGER)
    )
    addresses = re.findall(r'(?:href|src|action|data-answer)="([^"]+)"', html)

    assert len(addresses) > 8
    assert [each for each in addresses if not each.startswith(("/a/b/", "data:image/"))] == []


def test_without_a_model_there_is_no_form() -> None:
    html = shown_page(model=None)

    assert "No model is in use yet" in text_of(html)
    assert "No challenger waits" in text_of(html)
    assert "<form" not in html


def test_without_a_champion_the_challenger_is_offered_to_reviewers() -> None:
    html = shown_page(model=None, waiting=CHALLENGER)

    assert "For reviewers: version 8 is a challenger that waits for a decision." in text_of(html)
    assert "Ask the challenger" in text_of(html)
    assert 'name="beside"' not in html
    assert 'name="beside"' in shown_page(waiting=CHALLENGER)
    assert 'name="beside"' not in shown_page()


def test_a_problem_says_which_version_stays_in_use() -> None:
    told = text_of(shown_page(problem="The registry cannot be reached."))

    assert "Version 7 stays in use here." in told
    assert "The registry cannot be reached." in told
    assert "none is loaded" in text_of(shown_page(model=None, problem="x"))
    assert "stays in use" not in text_of(shown_page())


def test_drawn_lesions_and_what_learned_from_them_are_marked() -> None:
    drawn = CHAMPION.model_copy(update={"synthetic": True})
    example = Example("nevus-1", "/page/examples/nevus-1", "nevus")

    assert "SYNTHETIC" not in text_of(shown_page(answer=answered()))
    assert "this model learned from drawn lesions" in text_of(shown_page(model=drawn))
    assert "the challenger learned from drawn" in text_of(shown_page(waiting=drawn))
    assert "SYNTHETIC" in text_of(shown_page(examples=(example,)))
    assert "Drawn as: Nevus" in text_of(shown_page(examples=(example,)))
    assert "SYNTHETIC" in text_of(result(EN, answered(model=drawn), None, ()))
    assert "this lesion is drawn" in text_of(result(EN, answered(), None, (), drawn=True))


def test_an_error_stands_in_the_place_of_the_answer() -> None:
    told = shown_page(error="Too many requests.\n  Do: wait")

    assert "Not answered" in text_of(told)
    assert "Too many requests." in told
    assert 'lang="en">Too many' in failure(texts_in("de"), "Too many requests.")


@pytest.mark.parametrize("language", languages())
def test_every_answer_and_every_page_say_that_this_is_no_diagnosis(language: str) -> None:
    texts = texts_in(language)

    assert texts.words["notice"] in text_of(shown_page(texts=texts))
    assert texts.words["notice"] in text_of(result(texts, answered(), None, ()))
    assert f'<html lang="{language}">' in shown_page(texts=texts)


# Hostile text -------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", languages())
def test_text_of_others_stays_text(language: str) -> None:
    facts = CHAMPION.model_copy(
        update={
            **dict.fromkeys(("sha256", "recipe", "trained", "run"), HOSTILE),
            "judged": (OWN, OWN.model_copy(update={"where": HOSTILE})),
        }
    )
    answer = answered(
        model=facts, decision="not melanoma", probabilities={"melanoma": 0.01, HOSTILE: 0.99}
    )
    refusal = refused("blurred", model=facts)
    refusal = refusal.model_copy(
        update={"refused": (refusal.refused[0].model_copy(update={"measured": HOSTILE}),)}
    )
    example = Example(HOSTILE, HOSTILE, HOSTILE)
    texts = texts_in(language)
    html = "".join(
        (
            shown_page(texts=texts, model=facts, problem=HOSTILE, examples=(example,)),
            shown_page(texts=texts, model=facts, prefix=HOSTILE, answer=answer),
            shown_page(texts=texts, model=facts, error=HOSTILE, prefix=HOSTILE),
            result(texts, answer, refusal, [HOSTILE], prefix=HOSTILE),
        )
    )

    assert "alert(" in html
    assert "<script>" not in html
    assert '"><script' not in html
    assert "{n}" in text_of(html)


def test_a_page_has_neither_scripts_nor_styles_of_its_own() -> None:
    """The policy of contents that the app sends allows none."""
    html = shown_page(waiting=CHALLENGER, answer=answered(attention=True))

    assert re.findall(r"<script(?![^>]* src=)", html) == []
    assert re.findall(r"<style|\sstyle=|\son[a-z]+=|javascript:", html) == []
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)", html) == []
