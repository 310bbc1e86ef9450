"""The page in Chromium, as people use it; no model answers here, each state has a fixed answer."""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tasks.serving.languages import languages, texts_in
from tests.support.app_answers import drawn_lesion
from tests.support.browser import chromium
from tests.support.looks import MILLISECONDS, PHONES, troubles_of, violations
from tests.support.served_page import STATES, Served, served_page

pytestmark = pytest.mark.slow

# States whose page is that of another state until an answer comes.
SAME_BEFORE = {"harmless", "cancer", "refused", "failed"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with served_page() as found:
        yield found


@pytest.fixture(scope="module")
def context(browser: Browser) -> Iterator[BrowserContext]:
    with browser.new_context(viewport={"width": 1280, "height": 900}) as found:
        found.set_default_timeout(MILLISECONDS)
        found.grant_permissions(["clipboard-read", "clipboard-write"])
        yield found


@pytest.fixture
def page(context: BrowserContext, served: Served) -> Iterator[Page]:
    """A page on which nothing goes wrong unseen, and from which no request leaves the machine."""
    page = context.new_page()
    troubles = troubles_of(page, served.address)
    yield page
    page.close()
    assert troubles == []


@pytest.fixture(scope="module")
def lesions(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Nine images of drawn lesions."""
    folder = tmp_path_factory.mktemp("lesions")
    for number in range(9):
        (folder / f"lesion-{number}.png").write_bytes(drawn_lesion(number))
    return sorted(folder.iterdir())


def ask(page: Page, images: list[Path]) -> None:
    """Choose images, send them, and wait for the answer."""
    page.locator("#choose").set_input_files(images)
    page.locator("#send").click()
    page.locator("#result [data-fragment]").wait_for()


def drop(page: Page, name: str, kind: str, data: bytes) -> None:
    """Drop a file on the page, as from a folder."""
    dropped = page.evaluate_handle(
        """([name, type, data]) => {
            const bytes = Uint8Array.from(atob(data), (each) => each.charCodeAt(0));
            const dropped = new DataTransfer();
            dropped.items.add(new File([bytes], name, { type }));
            return dropped;
        }""",
        [name, kind, base64.b64encode(data).decode()],
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": dropped})


# Ways to give an image ----------------------------------------------------------------------------


def test_images_are_chosen_and_sent_with_the_choices(
    page: Page, served: Served, lesions: list[Path]
) -> None:
    page.goto(served.of("beside", "fr"))
    page.locator("[name=beside]").check()
    ask(page, lesions[:2])

    question = served.questions[-1]
    sizes = [f"{path.name} {path.stat().st_size}" for path in lesions[:2]]
    assert question == {
        "attention": ["true"],
        "beside": ["true"],
        "language": ["fr"],
        "images": sizes,
    }
    expect(page.locator("#result h2")).to_have_text(
        ["Mélanome suspecté", "Pas de suspicion de mélanome"]
    )


def test_an_image_is_dropped(page: Page, served: Served, lesions: list[Path]) -> None:
    page.goto(served.of("melanoma"))
    drop(page, "dropped.png", "image/png", lesions[0].read_bytes())
    expect(page.get_by_role("img", name="Image 1: dropped.png")).to_be_visible()
    drop(page, "letter.txt", "text/plain", b"no image")
    expect(page.get_by_role("status")).to_contain_text("No image was found")
    page.locator("#send").click()
    page.locator("[data-fragment=answer]").wait_for()

    assert served.questions[-1]["images"] == [f"dropped.png {lesions[0].stat().st_size}"]


def test_an_image_is_pasted_from_the_clipboard(page: Page, served: Served) -> None:
    page.goto(served.of("melanoma"))
    page.evaluate(
        """async (data) => {
            const bytes = Uint8Array.from(atob(data), (each) => each.charCodeAt(0));
            const image = new Blob([bytes], { type: "image/png" });
            await navigator.clipboard.write([new ClipboardItem({ "image/png": image })]);
        }""",
        base64.b64encode(drawn_lesion(3)).decode(),
    )
    page.keyboard.press("Control+V")
    expect(page.locator("#chosen img")).to_have_count(1)
    page.locator("#send").click()
    page.locator("[data-fragment=answer]").wait_for()

    assert len(served.questions[-1]["images"]) == 1


def test_what_a_browser_cannot_show_is_chosen_and_sent_all_the_same(
    page: Page, served: Served
) -> None:
    page.goto(served.of("melanoma"))
    drop(page, "lesion.dcm", "application/dicom", b"\0" * 128 + b"DICM")
    expect(page.get_by_role("img", name="Image 1: lesion.dcm")).to_have_text("DCM")
    page.locator("#send").click()
    page.locator("[data-fragment=answer]").wait_for()

    assert served.questions[-1]["images"] == ["lesion.dcm 132"]


def test_an_example_is_asked_about_and_marked(page: Page, served: Served) -> None:
    page.goto(served.of("melanoma"))
    page.get_by_role("button", name="Drawn as: Nevus").click()

    expect(page.locator("#result .drawn")).to_contain_text("SYNTHETIC · this lesion is drawn")
    assert served.questions[-1]["example"] == ["nevus"]
    assert "images" not in served.questions[-1]


def test_a_ninth_image_is_left_out_and_told(
    page: Page, served: Served, lesions: list[Path]
) -> None:
    page.goto(served.of("melanoma"))
    page.locator("#choose").set_input_files(lesions)

    expect(page.locator("#chosen img")).to_have_count(8)
    expect(page.get_by_role("status")).to_have_text("At most 8 images of one lesion. 1 left out.")


def test_a_question_without_an_image_is_not_sent(page: Page, served: Served) -> None:
    before = len(served.questions)
    page.goto(served.of("melanoma"))
    page.locator("#send").click()

    expect(page.get_by_role("status")).to_have_text("Choose at least one image first.")
    expect(page.locator("#choose")).to_be_focused()
    assert len(served.questions) == before


# What happens on the page -------------------------------------------------------------------------


def test_keyboard_alone_is_enough(page: Page, served: Served, lesions: list[Path]) -> None:
    # From the start: `expect_file_chooser` does not wait until the browser catches choosers.
    page.on("filechooser", lambda _: None)
    page.goto(served.of("melanoma"))
    reached: list[str] = []

    def tab_to(name: str) -> None:
        while not reached or reached[-1] != name:
            page.keyboard.press("Tab")
            reached.append(page.evaluate("document.activeElement.id"))
            assert len(reached) < 30, f"{name} was not reached: {reached}"

    tab_to("choose")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(lesions[:2])
    page.get_by_role("button", name="Remove image 2").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Remove image 1")).to_be_focused()
    tab_to("send")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    page.keyboard.press("Enter")

    expect(page.locator("#result h2")).to_be_focused()
    assert outline == "3px"
    assert served.questions[-1]["images"] == [f"lesion-0.png {lesions[0].stat().st_size}"]


def test_the_answer_is_announced_and_takes_the_focus(
    page: Page, served: Served, lesions: list[Path]
) -> None:
    page.goto(served.of("refused", "de"))
    ask(page, lesions[:2])

    expect(page.get_by_role("status")).to_have_text("Die Antwort ist da.")
    expect(page.locator("#result h2")).to_be_focused()
    expect(page.locator("#result")).to_contain_text("Das Bild ist unscharf")
    expect(page.locator("#result")).to_have_attribute("aria-busy", "false")


def test_other_images_take_the_old_answer_away(
    page: Page, served: Served, lesions: list[Path]
) -> None:
    """An answer beside another lesion's images would be read as the answer about that lesion."""
    page.goto(served.of("melanoma"))
    ask(page, lesions[:1])
    page.locator("#choose").set_input_files(lesions[1])

    expect(page.locator("[data-fragment]")).to_have_count(0)
    expect(page.locator("#result [data-first]")).to_be_visible()


def test_a_refused_question_shows_its_reason_and_keeps_the_images(
    page: Page, served: Served, lesions: list[Path]
) -> None:
    page.goto(served.of("failed"))
    ask(page, lesions[:1])

    expect(page.locator("#result")).to_contain_text("Do: send a JPEG or a DICOM")
    expect(page.locator("#result h2")).to_be_focused()
    expect(page.get_by_role("status")).to_contain_text("not answered")
    expect(page.locator("#chosen img")).to_have_count(1)


@pytest.mark.parametrize("broken", ["no connection", "another server's page"])
def test_no_answer_of_the_app_is_told_and_the_question_can_be_asked_again(
    page: Page, served: Served, lesions: list[Path], broken: str
) -> None:
    page.goto(served.of("melanoma"))
    page.route(
        "**/page/answer",
        lambda route: (
            route.abort()
            if broken == "no connection"
            else route.fulfill(status=502, body="<h1>Bad gateway</h1>", content_type="text/html")
        ),
    )
    ask(page, lesions[:1])
    expect(page.locator("#result h2")).to_have_text("The app cannot be reached")
    if broken != "no connection":
        expect(page.locator("#result")).to_contain_text("status 502")
    page.unroute("**/page/answer")
    page.locator("#send").click()

    expect(page.locator("#result h2")).to_have_text("Melanoma suspected")


def test_the_form_works_without_javascript(
    browser: Browser, served: Served, lesions: list[Path]
) -> None:
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(served.of("melanoma", "de"))
        expect(page.locator("#choose")).to_be_visible()
        page.locator("#choose").set_input_files(lesions[0])
        page.locator("#send").click()

        expect(page.locator("#result h2")).to_have_text("Verdacht auf Melanom")
        assert page.url.endswith("/clinic/melanoma/#result")
        assert served.questions[-1]["images"] == [f"lesion-0.png {lesions[0].stat().st_size}"]


# Looks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", PHONES)
def test_a_phone_shows_every_state_without_scrolling_sideways(
    browser: Browser, served: Served, lesions: list[Path], width: int
) -> None:
    size = {"width": width, "height": 780}
    with browser.new_context(viewport=size, has_touch=True, is_mobile=True) as context:  # type: ignore[arg-type]  # a ViewportSize
        page = context.new_page()
        for state in STATES:
            page.goto(served.of(state, "de"))
            if state != "no-model":
                expect(page.locator("#photograph")).to_have_attribute("capture", "environment")
                expect(page.get_by_text("Foto aufnehmen")).to_be_visible()
                ask(page, lesions[:2])
                top = page.evaluate(
                    """[document.querySelector("#result h2").getBoundingClientRect().top,
                    innerHeight + scrollY >= document.documentElement.scrollHeight - 1]"""
                )
                assert top[0] >= 0, state
                assert top[0] < 300 or top[1], state  # or the page ends there
            assert page.evaluate("document.documentElement.scrollWidth") <= width, state


@pytest.mark.parametrize("language", languages())
def test_axe_finds_no_violation_in_any_state_light_and_dark(
    page: Page, served: Served, lesions: list[Path], language: str
) -> None:
    found = {}
    for state in STATES:
        page.emulate_media(color_scheme="light")
        page.goto(served.of(state, language))
        if state != "no-model":
            if state not in SAME_BEFORE:
                found[state, "before"] = violations(page)
            ask(page, lesions[:2])
        found[state, "light"] = violations(page)
        page.emulate_media(color_scheme="dark")
        contrast = {"type": "rule", "values": ["color-contrast"]}
        found[state, "dark"] = violations(page, runOnly=contrast)

    assert {key: told for key, told in found.items() if told} == {}
    assert len(found) == 3 * len(STATES) - 1 - len(SAME_BEFORE)
    assert texts_in(language).words["title"] == page.title()


def test_what_axe_forbids_would_be_found(page: Page, served: Served) -> None:
    page.goto(served.of("melanoma"))
    page.evaluate("document.querySelector('#drop').style.color = '#eeeeee'")
    page.evaluate("document.querySelector('.examples img').removeAttribute('alt')")

    assert {each.partition(":")[0] for each in violations(page)} >= {"color-contrast", "image-alt"}


def test_dark_mode_is_dark(page: Page, served: Served) -> None:
    brightness = {}
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.goto(served.of("melanoma"))
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        brightness[scheme] = sum(map(int, colour.removeprefix("rgb(").removesuffix(")").split(",")))

    assert brightness["light"] == 3 * 255
    assert brightness["dark"] < 3 * 48
