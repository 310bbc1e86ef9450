"""What the environment says to a process."""

import os


def of_a_container() -> dict[str, str]:
    """This environment without what it tells OpenBLAS, such as the processor to compute for.

    A container is not told that. With another kernel of OpenBLAS the last digits differ.
    """
    return {name: text for name, text in os.environ.items() if not name.startswith("OPENBLAS_")}
