"""How tests are dealt out to several processes."""

# Whose tests share an engine, its networks and its images, or a whole demo.
ONE_AFTER_ANOTHER = ("tests/real/containers/", "tests/real/airflow/")


def dealt_as(nodeid: str) -> str:
    """What a test is dealt out with."""
    path = nodeid.partition("::")[0]
    return "real" if path.startswith(ONE_AFTER_ANOTHER) else path
