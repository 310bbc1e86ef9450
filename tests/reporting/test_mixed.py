"""The figures that no archive flatters, on the page and the card."""

from pathlib import Path

from tasks.records.figures import MixedArchives
from tasks.release.card import model_card
from tests.support.judged import MELANOMA_POLICY, flattered
from tests.support.reported import make_records, make_run, page_of, text_of


def test_the_figures_that_no_archive_flatters_stand_before_those_over_all_lesions(
    tmp_path: Path,
) -> None:
    run = make_run(tmp_path)
    records = make_records(run)
    mixed = flattered().mixed

    def read(mixed: MixedArchives | None) -> str:
        made = records["evaluate"].figures.model_copy(update={"mixed": mixed})
        told = records | {"evaluate": records["evaluate"].model_copy(update={"figures": made})}
        card = model_card("first", told, MELANOMA_POLICY)
        return text_of(page_of(run, told)) + card

    said = read(mixed)
    assert said.index("Archives of both kinds of lesions28 of 32") < said.index("All lesions30 of")
    assert "Not counted there: nevi (300 lesions)" in said
    both = said.index("| melanoma specificity, archives of both kinds | 40 of 90")
    assert both < said.index("| melanoma specificity, over all lesions | 70 of 91")
    for silent in (None, records["evaluate"].figures.mixed):  # older, and where all are of both
        assert "of both kinds" not in read(silent)
    none = read(mixed.model_copy(update={"archives": ()}) if mixed else None)
    assert "No archive holds both melanomas and other lesions" in none
    assert "No archive is known to hold both" in none
