"""Make the policy of an S3 bucket from the table of steps, with one user for each step.

    python -m infra.s3_policy BUCKET [PREFIX] [--principal PATTERN]
    python -m infra.s3_policy --users

The first prints JSON for ``aws s3api put-bucket-policy``, or for any other program that takes a
bucket policy. Each step, and each command that an orchestrator runs beside the steps, has its own
user. PATTERN is the user's name, with ``{step}`` for the name of the step. The default
is ``arn:aws:iam:::user/melanoma-{step}``, in the form of Ceph's gateway; AWS wants the account
between the last two colons. The second prints a line for each step and command: its user, and the
secret of a cluster with the user's key, for MELANOMA_STORE_SECRET=melanoma-store-{step}.

A step's user reads the store, and writes only the keys that the row of the step allows. Only who
may write ``private/`` reads it. No step writes ``raw/``: people who deliver need another key.

The web app has the user ``serve``. With feedback, reviewers deliver by the app, so its user writes
``raw/feedback/``, and deletes what waits in ``review/``. What saves the store, `infra.backup`, has
the user ``backup``, which reads all of it and writes nothing.
"""

import argparse
import json
from typing import Any

from tasks.engine.run import CHECKPOINTS
from tasks.pipeline import BESIDE, PIPELINE, may_write

EVIDENCE = "evidence/"
PRIVATE = "private/"  # see `tasks.intake.pseudonyms`
ROWS = (*PIPELINE, *BESIDE)
APP, BACKUP = "serve", "backup"
REVIEW = "review/"  # see `tasks.feedback.kept`
APP_WRITES = (
    *("monitoring/traces/", REVIEW, "raw/feedback/", "raw/metadata/feedback/"),
    *("ledger/feedback/", "ledger/deliveries/"),
)
PRINCIPAL = "arn:aws:iam:::user/melanoma-{step}"


def bucket_policy(bucket: str, prefix: str, principal: str = PRINCIPAL) -> dict[str, Any]:
    """The policy of a bucket that holds a store, as JSON.

    Args:
        bucket: Name of the bucket.
        prefix: Prefix of the store's keys, without a slash at the end; may be empty.
        principal: Name of a step's user, with ``{step}`` for the name of the step.
    """
    top = f"arn:aws:s3:::{bucket}"
    store = f"{top}/{prefix}/" if prefix else f"{top}/"
    names = {row: principal.replace("{step}", row.name) for row in ROWS}
    app, backup = (principal.replace("{step}", name) for name in (APP, BACKUP))
    everybody = [*names.values(), app, backup]
    # Without the right to list, S3 answers "forbidden" for a key that does not exist.
    statements = [
        _statement("Allow", everybody, "s3:ListBucket", [top]),
        _statement("Allow", everybody, "s3:GetObject", [f"{store}*"]),
        # Who has this key can try which number a patient's name stands for.
        _statement(
            "Deny",
            [app, *(name for row, name in names.items() if PRIVATE not in row.notes)],
            "s3:GetObject",
            [f"{store}{PRIVATE}*"],
        ),
        # A bundle holds folders of the steps' names, and "*" below goes over slashes.
        _statement(
            "Deny",
            [name for row, name in names.items() if EVIDENCE not in row.keeps],
            "s3:PutObject",
            [f"{store}runs/*/{EVIDENCE}*"],
        ),
        _statement("Allow", [app], "s3:PutObject", [f"{store}{each}*" for each in APP_WRITES]),
        _statement("Allow", [app], "s3:DeleteObject", [f"{store}{REVIEW}*"]),
    ]
    for row, name in names.items():
        mine = [store + key + ("*" if key.endswith("/") else "") for key in may_write(row, "*")]
        if mine:
            statements.append(_statement("Allow", [name], "s3:PutObject", mine))
        if row.machine != "small":  # what is long enough to keep checkpoints
            made = [f"{store}runs/*/{row.name}/*{CHECKPOINTS}/*"]
            statements.append(_statement("Allow", [name], "s3:DeleteObject", made))
    return {"Version": "2012-10-17", "Statement": statements}


def _statement(effect: str, names: list[str], action: str, resources: list[str]) -> dict[str, Any]:
    return {
        "Effect": effect,
        "Principal": {"AWS": names},
        "Action": [action],
        "Resource": resources,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="The policy of a bucket that holds a store.")
    parser.add_argument("bucket", nargs="?")
    parser.add_argument("prefix", nargs="?", default="")
    parser.add_argument("--principal", default=PRINCIPAL, help="with {step} in it")
    parser.add_argument("--users", action="store_true", help="users and secrets of the steps")
    given = parser.parse_args()
    if given.users:
        for row in ROWS:
            # A secret's name has no underscore.
            print(f"melanoma-{row.name} melanoma-store-{row.name.replace('_', '-')}")
        return
    if not given.bucket:
        parser.error("give a bucket, or --users")
    print(json.dumps(bucket_policy(given.bucket, given.prefix.strip("/"), given.principal)))


if __name__ == "__main__":
    main()
