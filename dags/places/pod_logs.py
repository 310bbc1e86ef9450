"""Read the log of a pod to its end, each line once, over a connection that may be cut.

The cluster puts a time before each line. After a cut we ask again from a little before the last
line, and leave out what we have had. Where the answer does not overlap with what we have had, lines
may be lost, for example because the node rotated its log: then the log says so. A line without a
time is not the step's: a node without the log answers with words of its own, and counts as a fault.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from hashlib import blake2b
from itertools import chain
from typing import Any

from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

SILENCE = 30.0  # seconds without a line after which we ask anew, and look after the pod
OVERLAP = 60  # seconds before the last line from which we ask again
REMEMBERED = 20_000  # lines by which we know what we have had
WORDS = 100  # of nodes, by which we know what we have told
PIECE = 1 << 16  # bytes
FIRST_PAUSE = 1.0  # seconds before a question is asked again

CUT = (HTTPError, ApiException, OSError)


class PodLog:
    """The log of one pod, across as many connections as it takes.

    Args:
        read: Asks the cluster; takes ``follow`` and ``since_seconds``, and returns an open answer.
        unread: Told, in a sentence, what could not be read.

    Attributes:
        fault: What ended the last connection, if it was no orderly end.
        rest: What the last connection brought of a line without its end.
    """

    def __init__(self, read: Callable[..., Any], unread: Callable[[str], None]) -> None:
        self._read, self._unread = read, unread
        self._had: deque[bytes] = deque(maxlen=REMEMBERED)
        self._times: deque[datetime] = deque(maxlen=REMEMBERED)
        self.fault, self.rest, self._last = "", b"", b""
        self._words: deque[bytes] = deque(maxlen=WORDS)

    def lines(self, *, follow: bool) -> Iterator[str]:
        """Whole lines that we have not had, until the connection ends, for whatever reason.

        Args:
            follow: Wait for further lines.
        """
        self.fault = ""
        answer = None
        try:
            answer = self._read(follow=follow, since_seconds=self._since())
            arriving = self._whole(answer)
            if self._had:
                arriving = self._after_what_we_had(arriving, follow)
            for line in arriving:
                yield self._kept(line)
        except CUT as error:
            self.fault = f"{type(error).__name__}: {getattr(error, 'reason', None) or error}"
        finally:
            if answer is not None:
                answer.close()

    # What we have had ----------------------------------------------------------------------------

    def _since(self) -> int | None:
        if not self._times:
            return None
        passed = (datetime.now(UTC) - self._times[-1]).total_seconds()
        return max(1, int(passed) + OVERLAP)

    def _after_what_we_had(self, arriving: Iterator[bytes], follow: bool) -> Iterator[bytes]:
        """The new lines of an answer that should begin with lines that we have had."""
        first = next(arriving, None)
        if first is None:
            return
        if not self._knows(first):
            # The node's clock may be ahead of ours: what was asked for may begin too late.
            whole = self._read(follow=follow, since_seconds=None)
            try:
                yield from self._new(self._whole(whole))
            finally:
                whole.close()
            return
        yield from self._new(chain((first,), arriving))

    def _new(self, arriving: Iterator[bytes]) -> Iterator[bytes]:
        had, oldest, overlaps = Counter(self._had), self._times[0], False
        last, full, told = self._times[-1], len(self._had) == REMEMBERED, False
        for line in arriving:
            key = _key(line)
            if had[key]:
                had[key] -= 1
                overlaps = True
                continue
            stamp = _time_of(line)
            if stamp is not None and (stamp < oldest or (full and stamp == oldest)):
                overlaps = True
                continue
            if not overlaps and not told:
                told = True
                self._unread(
                    f"Lines of the log between {last:%H:%M:%S} and "
                    f"{stamp or datetime.now(UTC):%H:%M:%S} (UTC) may be missing: the node had "
                    "rotated it when the connection was back."
                )
            yield line

    def _knows(self, line: bytes) -> bool:
        stamp = _time_of(line)
        return _key(line) in self._had or (stamp is not None and stamp < self._times[0])

    @property
    def is_up_to_date(self) -> bool:
        """Whether the last answer reached what we have had, and not less."""
        return not self._had or self._last == self._had[-1]

    def last_line(self) -> Iterator[str]:
        """The rest, as the last line of a log that is at its end."""
        if _time_of(self.rest):
            yield self._kept(self.rest)

    def _whole(self, answer: Any) -> Iterator[bytes]:
        """The whole lines of an answer. Only a line feed ends a line. One line may be of many
        megabytes."""
        pieces: list[bytes] = []
        self.rest = b""
        for piece in answer.stream(PIECE):
            first, *more = piece.split(b"\n")
            pieces.append(first)
            for following in more:
                line = b"".join(pieces)
                pieces = [following]
                if _time_of(line):
                    self._last = _key(line)
                    yield line
                else:
                    self._tell_words(line)
        self.rest = b"".join(pieces)
        if self.rest and not _time_of(self.rest) and not self.rest[:1].isdigit():  # no cut time
            self._tell_words(self.rest)

    def _tell_words(self, line: bytes) -> None:
        """Say once what a node says instead of the log."""
        self.fault = f"the node says: {line.decode(errors='backslashreplace')[:300]}"
        if line not in self._words:
            self._words.append(line)
            self._unread(f"Instead of the log {self.fault}")

    def _kept(self, line: bytes) -> str:
        self._had.append(_key(line))
        stamp = _time_of(line)
        self._times.append(stamp or (self._times[-1] if self._times else datetime.now(UTC)))
        text = line.partition(b" ")[2] if stamp else line
        return text.decode(errors="backslashreplace")


def pauses(longest: float) -> Iterator[float]:
    """Seconds to wait between tries: 1, 2, 4 and so on, up to 15; ends after `longest` seconds."""
    began, pause = time.monotonic(), FIRST_PAUSE
    while time.monotonic() - began < longest:
        yield pause
        pause = min(2 * pause, 15.0)


def _key(line: bytes) -> bytes:
    return blake2b(line, digest_size=12).digest()


def _time_of(line: bytes) -> datetime | None:
    """The time before a line, of the clock of the node; None if there is none."""
    word = line.partition(b" ")[0]
    if not 20 <= len(word) <= 40:
        return None
    try:
        found = datetime.fromisoformat(word.decode())
    except ValueError:
        return None
    return found if found.tzinfo else None
