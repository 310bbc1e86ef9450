"""How tests are dealt out to several processes: one process does a file, or all that is real."""

# Whose tests share an engine with its networks and images, or a whole demo. One process does both
# places: two Airflows at once take a machine of two cores for themselves.
ONE_AFTER_ANOTHER = ("tests/real/containers/", "tests/real/airflow/")
# What takes longest begins first, so that no process ends long after the others.
LONGEST_FIRST = (*ONE_AFTER_ANOTHER, "tests/real/", "tests/training/test_devices.py")


def dealt_as(nodeid: str) -> str:
    """What a test is dealt out with."""
    path = nodeid.partition("::")[0]
    return "real" if path.startswith(ONE_AFTER_ANOTHER) else path


def turn_of(nodeid: str) -> int:
    """When a test begins: 0 for the first."""
    return next(
        (turn for turn, place in enumerate(LONGEST_FIRST) if nodeid.startswith(place)),
        len(LONGEST_FIRST),
    )
