"""The commands about keys: keygen, sign."""

from pathlib import Path
from typing import Annotated

import typer

from tasks.engine.person import person_here
from tasks.engine.storage import open_store
from tasks.errors import BadInput
from tasks.options import Reason, StoreUri


def keygen_command(
    output: Annotated[Path, typer.Option(help="Folder for the two files.")],
    passphrase_file: Annotated[
        Path | None, typer.Option(help="Encrypt the private key with what this file holds.")
    ] = None,
) -> None:
    """Make a pair of keys: one to sign with, which stays secret, and one to verify with."""
    from tasks.engine.keygen import keygen
    from tasks.engine.signing import KEY, PASSPHRASE, PUBLIC

    secret = None
    if passphrase_file:
        try:
            secret = passphrase_file.read_bytes().strip()
        except OSError as error:
            raise BadInput(
                "The passphrase cannot be read.",
                expected="a file with a passphrase",
                received=str(error),
                do="correct --passphrase-file",
            ) from error
    private, public, fingerprint = keygen(output.absolute(), secret)
    print(f"Key SHA-256 {fingerprint}")
    print(f"To sign, set {KEY}={private}" + (f" and {PASSPHRASE}" if secret else ""))
    print(f"To verify only, set {PUBLIC}={public}")


def sign_command(store: StoreUri, reason: Reason) -> None:
    """Vouch, in your name, for all that a store holds and this key did not sign yet.

    Ledgers, records and evidence are verified first. The ledgers keep your name and reason.
    """
    from tasks.release.sign import sign

    done = sign(open_store(store), person_here(), reason)
    print(f"Signed: {done.in_words}.")


def add_to(app: typer.Typer, panel: str) -> None:
    """Add the commands to the command line."""
    app.command("keygen", rich_help_panel=panel)(keygen_command)
    app.command("sign", rich_help_panel=panel)(sign_command)
