"""Find pictures that share local features, without comparing each picture with each other.

The signs of a feature's numbers, against their medians, are a signature of `NUMBERS` bits. Several
tables sort all features by some of these bits; features that share a table's bits meet, and those
whose whole signatures nearly agree vote for a pair of pictures (Jégou 2008, Hamming embedding). All
true votes of a pair turn by about the same angle and grow by about the same size, false ones by any
(weak geometric consistency, ibid.), so the votes of the best angle and size are the pair's.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from tasks.intake.local_features import ANGLES, NUMBERS, ODD, SIZES, LocalFeatures, side_by_side

Array = np.ndarray[Any, Any]

# The settings below were chosen on 150 altered images of the nine-class set's training folder, five
# of them tried; docs/benchmarks.md tells what others that nobody chose on give.
TABLES = 12
SEED = 1  # of the bits of each table
# Bits by which a table sorts: about this many features would share a cell if bits were chance.
FEATURES_A_CELL = 4
FEWEST_BITS, MOST_BITS = 10, 24
# A cell of more features is of a mark that many pictures carry: a ruler, a frame, a smooth edge.
LARGEST_CELL = 256
# Bits in which the signatures of two features may differ. Two random features differ in 21.
MOST_DIFFERENT = 7
# Bins of the turn and of the growth that a pair of features tells; each counts in two neighbours.
TURNS, OCTAVE = 12, 2
FEWEST_VOTES = 3
# Of one picture, those of most weight. The vote of a feature that meets many others weighs less:
# the edge of a frame says less than a part of the lesion.
MOST_CANDIDATES = 16
CHUNK = 400  # pictures whose votes are counted at once
BLOCK = 20_000  # pictures whose meetings are in memory at once; for each, the tables are made anew
# The bits of a signature that flip where the picture is mirrored.
MIRROR = np.bitwise_or.reduce(np.uint64(1) << np.arange(NUMBERS, dtype=np.uint64)[ODD])


def candidates(features: LocalFeatures, chosen: Array) -> pd.DataFrame:
    """Pairs of pictures that may be copies of each other.

    Args:
        features: Of all pictures.
        chosen: Positions of the pictures to compare with all. What is found of a picture does not
            depend on which others are chosen.

    Returns:
        One row per picture and candidate: ``picture`` (one of `chosen`), ``other``, ``mirrored``,
        ``votes``, ``weight``; of each picture at most `MOST_CANDIDATES`.
    """
    columns = ["picture", "other", "mirrored", "votes", "weight"]
    signatures = _signatures(features.codes)
    owners = np.repeat(np.arange(len(features.counts)), features.counts)
    found = [
        _votes(features, owners, pairs, is_mirrored).assign(mirrored=is_mirrored)
        for start in range(0, len(chosen), BLOCK)
        for is_mirrored, pairs in _meetings(
            signatures, owners, _chunks(features, chosen[start : start + BLOCK])
        )
    ]
    told = pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=columns)
    told = told.sort_values(
        ["picture", "weight", "other", "mirrored"], ascending=[True, False, True, True]
    )
    return told.groupby("picture").head(MOST_CANDIDATES)[columns].reset_index(drop=True)


def _signatures(codes: Array) -> Array:
    """uint64 ``(features,)``. Numbers that mirroring negates have the median 0, so their bits flip;
    the medians of others are taken from at most a million features, evenly spread."""
    if not len(codes):
        return np.zeros(0, np.uint64)
    some = codes[:: max(1, len(codes) // 1_000_000)]
    limits = np.where(ODD, 0, np.median(some, axis=0).astype(int))
    found = np.zeros(len(codes), np.uint64)
    for number, limit in enumerate(limits):
        found |= (codes[:, number] >= limit).astype(np.uint64) << np.uint64(number)
    return found


def _bits_of_tables(features: int) -> list[Array]:
    """The bits that each table sorts by; more bits for more features."""
    wanted = int(np.ceil(np.log2(max(features, 1) / FEATURES_A_CELL + 1)))
    number = min(max(wanted, FEWEST_BITS), MOST_BITS)
    draw = np.random.default_rng(SEED)
    return [draw.permutation(NUMBERS)[:MOST_BITS][:number] for _ in range(TABLES)]


def _chunks(features: LocalFeatures, chosen: Array) -> list[Array]:
    """The features of the chosen pictures, those of `CHUNK` pictures together."""
    starts = features.starts
    return [
        np.concatenate(
            [np.arange(*starts[each : each + 2]) for each in chosen[start : start + CHUNK]]
        )
        for start in range(0, len(chosen), CHUNK)
    ]


class _Table:
    """All features, sorted by some bits of their signatures."""

    def __init__(self, signatures: Array, bits: Array) -> None:
        self.bits = bits
        cells = self._cells(signatures)
        self.order = np.argsort(cells, kind="stable").astype(np.int32)
        counts = np.bincount(cells, minlength=1 << len(bits))
        self.starts = np.cumsum(counts) - counts
        self.counts = np.where(counts > LARGEST_CELL, 0, counts)

    def _cells(self, signatures: Array) -> Array:
        """The number of the cell of each signature: the table's bits, one after the other."""
        found = np.zeros(len(signatures), np.uint32)
        for place, bit in enumerate(self.bits):
            one = (signatures >> np.uint64(bit)).astype(np.uint32) & np.uint32(1)
            found |= one << np.uint32(place)
        return found

    def meetings(self, asked: Array) -> tuple[Array, Array]:
        """Positions in `asked`, and features of the same cell."""
        cells = self._cells(asked)
        starts, counts = self.starts[cells], self.counts[cells]
        places = np.repeat(np.arange(len(asked)), counts)
        within = np.arange(len(places)) - np.repeat(np.cumsum(counts) - counts, counts)
        return places, self.order[np.repeat(starts, counts) + within]


def _meetings(
    signatures: Array, owners: Array, chunks: list[Array]
) -> Iterator[tuple[bool, Array]]:
    """Features that are asked for, and features that nearly agree with them.

    Yields:
        For each chunk, plain and mirrored: int ``(pairs, 2)``, each pair once. Only as many tables
        are in memory as there are cores.
    """
    size = max(len(signatures), 1)
    asked = [(turned, mine) for mine in chunks for turned in (False, True)]
    found: list[list[Array]] = [[np.zeros(0, np.int64)] for _ in asked]

    def met(bits: Array) -> list[Array]:
        table = _Table(signatures, bits)
        told = []
        for turned, mine in asked:
            wanted = signatures[mine] ^ (MIRROR if turned else np.uint64(0))
            places, others = table.meetings(wanted)
            near = np.bitwise_count(wanted[places] ^ signatures[others]) <= MOST_DIFFERENT
            places, others = places[near], others[near]
            near = owners[mine[places]] != owners[others]
            told.append(mine[places[near]] * size + others[near])
        return told

    for told in side_by_side(met, _bits_of_tables(len(signatures))):
        for keys, more in zip(found, told, strict=True):
            keys.append(more)
    for (turned, _), keys in zip(asked, found, strict=True):
        yield turned, np.stack(np.divmod(distinct(np.concatenate(keys)), size), axis=1)


def distinct(keys: Array) -> Array:
    """What `numpy.unique` gives, which takes thrice the time."""
    keys = np.sort(keys)
    new = np.concatenate([[True], keys[1:] != keys[:-1]])[: len(keys)]
    return np.asarray(keys[new])


def _votes(features: LocalFeatures, owners: Array, pairs: Array, is_mirrored: bool) -> pd.DataFrame:
    """``picture``, ``other``, ``votes``, ``weight`` of pictures whose features (positions, the
    asked one and one that nearly agrees) often turn and grow alike.
    """
    number = max(len(features.counts), 1)
    weights = 1 / _times(pairs[:, 0])
    # Chance meetings of pictures are most of all, and few for each two pictures.
    often = _often(owners[pairs[:, 0]] * number + owners[pairs[:, 1]], FEWEST_VOTES)
    pairs, weights = pairs[often], weights[often]
    one, two = (features.places[pairs[:, end]].astype(int) for end in (0, 1))
    turn = (two[:, 2] + one[:, 2] if is_mirrored else two[:, 2] - one[:, 2]) % ANGLES
    turn = turn * TURNS // ANGLES
    growth = (two[:, 3] - one[:, 3] + 256) * OCTAVE // SIZES
    both = owners[pairs[:, 0]] * number + owners[pairs[:, 1]]
    keys = [((both * TURNS + (turn + a) % TURNS) << 8) + growth + b for a in (0, 1) for b in (0, 1)]
    bins, places = np.unique(np.concatenate(keys), return_inverse=True)
    votes = np.bincount(places, minlength=len(bins))
    weight = np.bincount(places, np.tile(weights, 4), minlength=len(bins))
    enough = votes >= FEWEST_VOTES
    picture, other = np.divmod((bins[enough] >> 8) // TURNS, number)
    told = pd.DataFrame(
        {"picture": picture, "other": other, "votes": votes[enough], "weight": weight[enough]}
    )
    return told.groupby(["picture", "other"], as_index=False).max()


def _times(ordered: Array) -> Array:
    """How often each number of an ordered array stands in the array."""
    begins = np.flatnonzero(np.diff(ordered, prepend=-1))
    counts = np.diff(begins, append=len(ordered))
    return np.repeat(counts, counts)


def _often(numbers: Array, times: int) -> Array:
    """bool: which numbers stand at least so many times in the array."""
    ordered = np.sort(numbers)
    last = ordered[times - 1 :]
    wanted = distinct(last[last == ordered[: len(last)]])
    if not len(wanted):
        return np.zeros(len(numbers), bool)
    at = np.minimum(np.searchsorted(wanted, numbers), len(wanted) - 1)
    return np.asarray(wanted[at] == numbers)
