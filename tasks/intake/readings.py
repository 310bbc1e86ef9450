"""Tell what was understood of a delivery, as the log of ``ingest`` does."""

import logging
from collections.abc import Iterable

from tasks.engine.withdrawals import Withdrawn
from tasks.figures import listed, plural
from tasks.records.ingested import Reading, TableRead, WithdrawnFiles

log = logging.getLogger(__name__)

FEW = 3  # examples of each kind
MOST_LINES = 20  # about folders; a delivery may have a folder for each patient


def by_entry(withdrawn: Iterable[Withdrawn]) -> list[WithdrawnFiles]:
    """The withdrawn files, together by the entry of the ledger that withdrew them."""
    found: dict[int, list[Withdrawn]] = {}
    for each in withdrawn:
        found.setdefault(each.entry, []).append(each)
    return [
        WithdrawnFiles(
            entry=number,
            by=own[0].by,
            at=own[0].at,
            reason=own[0].reason,
            files=len(own),
            examples=tuple(sorted(each.key for each in own)[:FEW]),
        )
        for number, own in sorted(found.items())
    ]


def columns_in_words(table: TableRead) -> str:
    """What the columns of a table were taken for, and which are kept unchanged."""
    held: dict[str, list[str]] = {}
    for name, of in table.columns.items():
        held.setdefault(of or "kept unchanged", []).append(name)
    rest = held.pop("kept unchanged", [])
    said = [f"{of} from {', '.join(map(repr, names))}" for of, names in held.items()]
    if rest:
        said.append(f"kept unchanged: {listed([repr(name) for name in rest], 5)}")
    return "; ".join(said)


def tell(reading: Reading, ignored: tuple[str, ...]) -> None:
    """Log what was understood of the delivery, a line for each thing."""
    for each in reading.withdrawn:
        log.warning(
            "%s left out, withdrawn by %s (entry %d of the ledger of deliveries): %s.",
            plural(each.files, "file"), each.by, each.entry, each.reason,
        )  # fmt: skip
    for table in reading.tables:
        _tell_table(table)
    for key, reason in reading.unread.items():
        log.warning("Table %s is not used: %s.", key, reason)
    for folder in reading.folders[:MOST_LINES]:
        may = f"; it may mean {folder.suggestion}" if folder.suggestion else ""
        log.warning(
            "Folder %s gives no label to %s%s.", folder.name, plural(folder.files, "file"), may
        )
    more = len(reading.folders) - MOST_LINES + reading.more_folders
    if more > 0:
        log.warning("%d more folders give no label.", more)
    for name in reading.notes:
        log.info("%s.", name.rstrip("."))
    if reading.sources:
        log.info("Sources: %s.", ", ".join(f"{name} {n}" for name, n in reading.sources.items()))
    for key in ignored[:MOST_LINES]:
        log.warning("Ignored %s: neither an image nor a table.", key)
    if len(ignored) > MOST_LINES:
        log.warning("%d more files are ignored: the record names them.", len(ignored) - MOST_LINES)


def _tell_table(table: TableRead) -> None:
    log.info(
        "Table %s: %d rows, %d of them of delivered images; %s.",
        table.key, table.rows, table.matched, columns_in_words(table),
    )  # fmt: skip
    for problem in table.problems:
        log.warning("Table %s: %s.", table.key, problem)
    if table.matched < table.rows:
        log.warning(
            "Table %s: no image for %d rows, such as %s.",
            table.key, table.rows - table.matched, listed(list(table.unmatched), FEW),
        )  # fmt: skip
    if table.codes:
        codes = [f"{code!r} in {rows} rows" for code, rows in table.codes.items()]
        log.warning("Table %s: diagnoses that are not understood: %s.", table.key, listed(codes, 5))
