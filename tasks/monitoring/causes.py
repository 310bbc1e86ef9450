"""What the figures that moved speak for.

A cause is a hypothesis, not a proof: figures of an image cannot tell a clinic from its device.
"""

from collections.abc import Collection

from tasks.monitoring.watched import Group

FILE = "another file format or export: files differ, and light, skin colour and sharpness do not"
PROCESSED = (
    "another export, compression or device: files and sharpness differ, and light and skin colour "
    "do not"
)
DEVICE = "another device: light, skin colour or sharpness differ"
CLINIC = (
    "another clinic or another device: light, skin colour or sharpness differ, and so does what "
    "the model answers"
)
CASES = "another case mix: what the model answers differs, while light and skin do not"
IMAGE = (
    "lesions of another kind, or a change of the image that neither skin colour nor sharpness tells"
)
REFUSED = "images of another quality: another share is refused, and nothing else differs"


def causes_of(moved: Collection[Group]) -> tuple[str, ...]:
    """What a set of groups with figures that moved speaks for, the likeliest first."""
    if "light" in moved or ("sharpness" in moved and "file" not in moved):
        return (CLINIC,) if "answers" in moved else (DEVICE,)
    found = []
    if "file" in moved:
        found.append(PROCESSED if "sharpness" in moved else FILE)
    if "answers" in moved:
        found.append(CASES)
    elif "lesion" in moved and not found:
        found.append(IMAGE)
    if "refusals" in moved and not found:
        found.append(REFUSED)
    return tuple(found)
