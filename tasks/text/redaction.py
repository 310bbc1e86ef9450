"""Remove passwords, from addresses and from the environment, from logs, records and pages.

MLflow and S3 accept ``https://user:password@host`` as an address, and libraries repeat the whole
address in their errors. So every message of ours and every line of a log goes through `redacted`,
see `tasks.errors` and `tasks.engine.quiet`. Host and port stay visible, to help find the fault.
"""

import os
import re
from collections.abc import Iterator
from urllib.parse import quote, quote_plus, unquote, unquote_plus

HIDDEN = "***"
# Addresses that may hold a password, and variables that are secrets as a whole.
ADDRESSES = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_REGISTRY_URI",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
)
SECRETS = (
    *("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    *("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"),
)
SHORTEST = 4  # a shorter secret stands inside of harmless words; the patterns below still hide it

# In any text: what stands between :// and the last @ before a blank, a quote or the path.
USERINFO = re.compile(r"(?<=://)[^\s/'\"<>]+@(?=[\w.\[-])")
# In a query or a fragment: what is named like a secret.
QUERY = re.compile(
    r"(?i)(?<=[?&;#])([\w.-]*(?:pass|pwd|secret|token|key|signature|credential|auth)[\w.-]*)=[^&\s'\"<>;#]+"
)

# In a header that a library repeats: what follows the scheme.
HEADER = re.compile(
    r"(?i)(authorization['\"]?\s*[:=]\s*['\"]?(?:basic|bearer|token|negotiate)\s+)[^\s'\",]+"
)


def redacted(text: str) -> str:
    """A text without this process's secrets and without passwords in addresses.

    >>> redacted("MLflow at http://me:pa%40ss@mlflow.example:5000/api?token=abc&page=2 failed")
    'MLflow at http://***@mlflow.example:5000/api?token=***&page=2 failed'
    """
    for secret in sorted(set(_secrets()), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    text = HEADER.sub(rf"\1{HIDDEN}", USERINFO.sub(f"{HIDDEN}@", text))
    return QUERY.sub(rf"\1={HIDDEN}", text)


def _secrets() -> Iterator[str]:
    """The secrets to hide, in every spelling in which a library may repeat them."""
    values = [os.environ.get(name, "") for name in SECRETS]
    for name in ADDRESSES:
        values += _within(os.environ.get(name, ""))
    for value in filter(None, values):
        known = {value, unquote(value), unquote_plus(value)}
        known |= {spelled for each in known for spelled in (quote(each, ""), quote_plus(each))}
        known |= {repr(each)[1:-1] for each in known}
        yield from (each for each in known if len(each) >= SHORTEST)


def _within(address: str) -> list[str]:
    """The passwords in an address: after the user's name, and in the query. A password without
    percent-encoding may contain ``@ : / ?``."""
    _, scheme, rest = address.partition("://")
    if not scheme:
        return []
    found = [match[0].partition("=")[2] for match in QUERY.finditer(address)]
    userinfo, at, _ = rest.rpartition("@")
    if at:
        found += [userinfo, userinfo.partition(":")[2]]
    return found
