"""What the operator of the app chooses."""

import hmac
import ipaddress
import stat
from dataclasses import dataclass, field
from pathlib import Path

from tasks.errors import BadInput


@dataclass(frozen=True)
class Settings:
    """Choices of an installation.

    Attributes:
        host, port: Address that the app listens on.
        hosts: Names under which browsers and programs may ask for the app; others are refused.
        users: Password of each user who may log in; empty: no login, on loopback only.
        person_header: Header in which a trusted proxy names the user; empty: none is believed.
        proxies: Addresses of the proxies that may set the header.
        reviewers: Users who are shown the challenger too. Without a login everybody is.
        root_path: Sub-path behind a proxy, such as ``/melanoma``; empty: none.
        feedback: Whether images may be kept, where a patient has agreed.
        review_bytes: Most bytes that wait for reviewers; then no more images are kept.
        lesion_bytes: Most bytes of one lesion that is kept: a PNG may be larger than what was sent.
        seconds: Time between two looks at the ledger.
        prevalence: Share of melanomas among the lesions of this clinic, 0 to 1; None: not stated.
        file_bytes: Largest file.
        request_bytes: Largest request, all files together. So much of each request is in memory.
        files: Most files of one lesion.
        batch: Most files of one batch.
        megapixels: Largest image.
        each_minute: Most requests of one user, or of one address without a login.
        guesses_each_minute: Most wrong passwords of one address.
        gather_seconds: Time that traces of answers are gathered before they are written.
    """

    host: str = "127.0.0.1"
    port: int = 8200
    hosts: tuple[str, ...] = ()
    users: dict[str, str] = field(default_factory=dict)
    person_header: str = ""
    proxies: tuple[str, ...] = ()
    reviewers: tuple[str, ...] = ()
    root_path: str = ""
    feedback: bool = False
    review_bytes: int = 10 * 2**30
    lesion_bytes: int = 2**28
    seconds: float = 10.0
    prevalence: float | None = None
    file_bytes: int = 32 * 2**20
    request_bytes: int = 64 * 2**20
    files: int = 8
    batch: int = 64
    megapixels: int = 64
    each_minute: int = 240
    guesses_each_minute: int = 20
    gather_seconds: float = 60.0

    @property
    def has_login(self) -> bool:
        return bool(self.users or self.person_header)

    @property
    def allowed_hosts(self) -> tuple[str, ...]:
        """Names under which the app may be asked for, in small letters, without ports."""
        return (self.host.lower(), "localhost", "127.0.0.1", "[::1]", *map(str.lower, self.hosts))

    def checked(self) -> "Settings":
        """These settings.

        Raises:
            BadInput: The app would answer other machines without a login, or would believe a header
                of anybody.
        """
        if not self.has_login and not is_loopback(self.host):
            raise BadInput(
                "The app would answer other machines without a login.",
                expected="--users FILE, or --person-header and --proxy, beside such an address",
                received=f"--host {self.host}, which other machines reach, and no login",
                do="add a login, or leave --host at 127.0.0.1",
            )
        if bool(self.person_header) != bool(self.proxies):
            raise BadInput(
                "Nobody would know whose header to believe.",
                expected="--person-header and --proxy together, or neither",
                received="one of them",
                do="name the header, and the address of the proxy that sets the header",
            )
        return self

    def is_reviewer(self, person: str) -> bool:
        return not self.has_login or person in self.reviewers

    def knows(self, person: str, password: str) -> bool:
        """Whether the password is that of the user. Takes as long for a user who does not exist."""
        expected = self.users.get(person, "")
        same = hmac.compare_digest(expected.encode(), password.encode())
        return same and bool(expected)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def users_in(path: Path) -> dict[str, str]:
    """Read the file of users: a line ``name:password`` for each.

    Raises:
        BadInput: The file cannot be read, holds another line, or others may read it.
    """
    wrong = ""
    users: dict[str, str] = {}
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            wrong = "other users of the machine may read it"
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            name, colon, password = line.partition(":")
            if not line.strip() or line.startswith("#"):
                continue
            if not (name and colon and password) or name in users:
                wrong = wrong or f"line {number} is none, or names a user again"
            users[name] = password
    except (OSError, UnicodeDecodeError) as error:
        wrong = str(error)
    if wrong or not users:
        raise BadInput(
            "The file of users cannot be used.",
            expected="lines name:password, in a file that its owner alone may read",
            received=wrong or "no user",
            do=f"correct {path}; chmod 600",
        )
    return users
