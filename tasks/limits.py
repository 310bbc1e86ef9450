"""How much memory a step may take in this installation.

The table of steps suits some 100,000 images. MELANOMA_MEMORY_MB raises or lowers the limits of
single steps where containers and pods run them: ``{"ingest": 4096, "validate": 8192}``, in MiB.
"""

import json
from collections.abc import Mapping
from dataclasses import replace

from tasks.errors import BadInput
from tasks.pipeline import BESIDE, PIPELINE, Step

VARIABLE = "MELANOMA_MEMORY_MB"
LEAST = 128  # MiB, below which Python and the libraries of a step do not start


def limited(row: Step, environment: Mapping[str, str]) -> Step:
    """A row with the memory of this installation, or unchanged.

    Args:
        row: Row of a step, of a part of one, or of a command beside the steps.
        environment: May hold MELANOMA_MEMORY_MB.

    Raises:
        BadInput: MELANOMA_MEMORY_MB is not a JSON object of steps and MiB.
    """
    given = environment.get(VARIABLE) or "{}"
    try:
        memory = json.loads(given)
    except ValueError:
        memory = None
    names = {each.name for each in (*PIPELINE, *BESIDE)}
    if not isinstance(memory, dict) or not all(
        name in names and type(size) is int and size >= LEAST for name, size in memory.items()
    ):
        raise BadInput(
            "It is not known how much memory steps may take.",
            expected=f"{VARIABLE} as JSON, whole MiB from {LEAST} by the name of a step or "
            'command, such as {"validate": 8192}',
            received=f"{VARIABLE}={given}",
            do=f"correct it; the names are {', '.join(sorted(names))}",
        )
    return replace(row, memory_mb=memory.get(row.whole, row.memory_mb))
