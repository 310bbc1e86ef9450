"""Count the looks that were taken at images before: each widens the bounds of later ones."""

import pandas as pd

from tasks.engine.judged import DIGITS
from tasks.engine.ledger import Chain
from tasks.lesions import MELANOMA
from tasks.splitting.looks import SAME_TEST_PART, looks_of
from tasks.splitting.recognized import matches


def looks_before(
    chain: Chain, test: pd.DataFrame, own: tuple[str, str, str], of_set: str = ""
) -> int:
    """How many other looks were taken at these images before this one.

    A look counts if it saw at least half of these images, or of the melanomas among them. Looks of
    one model at pieces of one test part count together. A look at an external set saw an image also
    if it is coded or named anew now. What a model of a test part saw needs no such search: a judged
    image that is coded anew counts as gone from the test part, and as a miss.

    Args:
        chain: The ledger.
        test: Rows with ``image_id``, ``pixel_hash``, ``label``, and their perceptual hashes as far
            as they are known.
        own: Identity of this look, see `Look.identity`. Its entry and later ones do not count.
        of_set: Name of the external set that these images are of.
    """
    images = {str(digest)[:DIGITS] for digest in test["pixel_hash"]}
    melanomas = {
        str(digest)[:DIGITS] for digest in test.loc[test["label"] == MELANOMA, "pixel_hash"]
    }
    seen: dict[tuple[str, str, str], set[str]] = {}
    for look in looks_of(chain):
        if _same(look.identity, own):
            break
        found = seen.setdefault(look.identity, set())
        found.update(each.pixels for each in look.images)
        if look.of_set:
            again = matches(test, look.images, one_place=look.of_set == of_set)
            hashes = test["pixel_hash"].iloc[again["row"].to_numpy(int)]
            found.update(str(digest)[:DIGITS] for digest in hashes)
    return sum(
        any(
            part and len(part & pixels) >= SAME_TEST_PART * len(part)
            for part in (images, melanomas)
        )
        for pixels in seen.values()
    )


def _same(one: tuple[str, str, str], other: tuple[str, str, str]) -> bool:
    """Whether two identities are the same. The threshold of an adopted look is not known."""
    return one[:2] == other[:2] and (one[2] == other[2] or not one[2])
