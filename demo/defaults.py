"""What runs of the demo's store take that nobody configures: those of the schedule, of an event, of
a drift test."""

from demo.place import SYNTHETIC_CONFIG, Place
from tasks.config import parse_config
from tasks.engine.defaults import NONE, defaults_of, set_defaults
from tasks.engine.person import person_here
from tasks.engine.storage import open_store
from tasks.engine.store import Store
from tasks.errors import BadInput


def give_defaults(place: Place) -> str:
    """Give the store of drawn lesions the demo's configuration as defaults, in the name of the user
    of this process. Defaults that somebody set stay. A store of real images gets none.

    Returns:
        What was done, in a sentence.

    Raises:
        BadInput: The store's defaults are not valid; or real images would be judged as drawn ones.
        Momentary: The store does not answer.
    """
    store = open_store(place.store)
    now = defaults_of(store)
    if place.images and parse_config(now).policy == parse_config(SYNTHETIC_CONFIG).policy:
        raise BadInput(
            "The defaults of the store are those for drawn lesions.",
            expected="a store whose runs judge real images by a policy for real images",
            received=f"{store.uri}/config.json: {now[:200]}",
            do="give another STORE, or set other defaults: python -m tasks config --set",
        )
    if place.images or now != NONE:
        return f"Runs that nobody configures have {_said(now)}."
    if place.s3 and _holds_deliveries(store):
        # These may be real images, and whoever delivered them expects the product's defaults.
        return (
            "The store held images before, and gets no defaults: runs that nobody configures have "
            "those of the product."
        )
    set_defaults(store, SYNTHETIC_CONFIG, person_here())
    return f"Runs that nobody configures have the demo's configuration: {SYNTHETIC_CONFIG}"


def _said(defaults: str) -> str:
    if defaults == NONE:
        return "the defaults of the product"
    return f"the defaults of the store, {defaults}"


def _holds_deliveries(store: Store) -> bool:
    return next(iter(store.list("raw/")), None) is not None
