"""Options that several commands of the command line share."""

from pathlib import Path
from typing import Annotated

import typer

RunUri = Annotated[
    str,
    typer.Option("--run", help="STORE/runs/NAME; STORE is a directory or s3://bucket/prefix."),
]
StoreUri = Annotated[str, typer.Option("--store", help="A directory or s3://bucket/prefix.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Reason = Annotated[str, typer.Option(help="Why, in a few words. The ledger keeps them.")]
PublicKey = Annotated[
    Path | None,
    typer.Option(
        help="Refuse what the key of this PEM file did not sign. Default: the keys that "
        "MELANOMA_PUBLIC_KEY or MELANOMA_SIGNING_KEY names."
    ),
]
PANEL = "Models in use"
