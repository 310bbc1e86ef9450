"""The model card, in Markdown and as a page.

The headings follow Mitchell et al., "Model Cards for Model Reporting", FAT* 2019,
doi:10.1145/3287560.3287596.
"""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt

from tasks.curve import in_words
from tasks.engine.sources import code_hash
from tasks.evaluation.policy import Policy
from tasks.evaluation.serious import serious_of
from tasks.figures import at_least, at_most, down, percent, up
from tasks.lesions import MELANOMA
from tasks.recipes import recipe_now
from tasks.records.figures import Estimate, Proportion
from tasks.records.record import Record, sha256
from tasks.text.markdown import plain

PAGES = Path(__file__).parent / "pages"


def model_card(run: str, records: dict[str, Record], policy: Policy) -> str:
    """The model card of a run, in Markdown.

    Args:
        run: Name of the run.
        records: Records of every step up to the gate, by name of the step.
        policy: The policy that judged.
    """
    verdict: Any = records["gate"]
    trained: Any = records["train"]
    evaluated: Any = records["evaluate"]
    return (
        _environment(autoescape=False)
        .get_template("model_card.md.j2")
        .render(
            run=run,
            melanoma=MELANOMA,
            ingested=records["ingest"],
            validated=records["validate"],
            split=records["split"],
            trained=trained,
            evaluated=evaluated,
            verdict=verdict,
            policy=policy,
            chosen=trained.of(evaluated.recipe),
            config=verdict.provenance.config,
            serious_of=serious_of,
        )
    )


def card_version() -> str:
    """SHA-256 over everything that decides how records become a card."""
    templates = (PAGES / "model_card.md.j2", PAGES / "model_card.html.j2")
    return sha256(
        code_hash("release.card").encode() + b"".join(each.read_bytes() for each in templates)
    )


def card_as_html(markdown: str, run: str) -> str:
    """The card as one self-contained HTML page.

    File names and labels of a delivery are hostile input: HTML, pictures and links in the Markdown
    stay text in the page.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.disable(["image", "link", "autolink", "html_inline", "html_block", "reference"])
    return (
        _environment(autoescape=True)
        .get_template("model_card.html.j2")
        .render(body=parser.render(markdown), run=run)
    )


def _environment(*, autoescape: bool) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(PAGES),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=None if autoescape else _in_a_line,
    )
    environment.filters |= {
        "percent": percent,
        "counted": counted,
        "measured": measured,
        "fit_in_words": in_words,
        "recipe_now": recipe_now,
        "drop": drop_in_words,
    }
    return environment


def _in_a_line(value: Any) -> Any:
    """Escape text of a delivery, which must not end a cell or row of a table, nor begin a tag."""
    return plain(value) if isinstance(value, str) else value


def counted(figure: Proportion) -> str:
    """Successes, n, share and interval of a proportion, in one line."""
    if not figure.n:
        return "none in the test part"
    return (
        f"{figure.successes} of {figure.n}, {percent(figure.estimate, 1)} "
        f"({at_least(figure.lower, 1)} to {at_most(figure.upper, 1)})"
    )


def measured(figure: Estimate) -> str:
    """Value and interval of a figure, in one line."""
    if figure.value is None:
        return "cannot be measured here"
    if figure.lower is None or figure.upper is None:
        return f"{figure.value:.3f}, no interval: too few lesions"
    return f"{figure.value:.3f} ({down(figure.lower)} to {up(figure.upper)})"


def drop_in_words(drop: Estimate, area: bool = False) -> str:
    """How much lower a figure is elsewhere, with its interval, and whether that shows a drop.

    Args:
        drop: The figure on the own test part minus that elsewhere, -1 to 1.
        area: Whether the figure is an area; else it is a share, told in points of a hundred.
    """
    if drop.value is None or drop.lower is None or drop.upper is None:
        return "cannot be compared: too few lesions"

    def said(value: float) -> str:
        text = f"{value:.3f}" if area else f"{100 * value:.1f}"
        return text.replace("-", "\u2212")

    unit = "" if area else "\u00a0points"
    size = f"{said(abs(drop.value))}{unit} {'lower' if drop.value >= 0 else 'higher'}"
    size = "the same" if said(abs(drop.value)) in ("0.0", "0.000") else size
    shown = "a drop is shown" if drop.lower > 0 else "no drop is shown"
    if drop.lower <= 0 and drop.upper < 0:
        shown = "a rise is shown"
    than = "as" if size == "the same" else "than"
    return (
        f"{size} {than} on its own test part (drop {said(drop.lower)} to {said(drop.upper)}{unit}, "
        f"95 % interval: {shown})"
    )
