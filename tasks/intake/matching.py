"""Find the delivered image that a row of a table means, however the row names the image."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from copy import copy
from urllib.parse import unquote, urlsplit

from tasks.intake.cells import same_number
from tasks.lesions import FILE_SUFFIX, image_id_from


class Names:
    """The ids of the delivered images.

    Args:
        images: The id of each file by its key. An id that holds a ``/`` is unique only with its
            folder.
        hidden: Ids by which tables may call images whose own names tell who the patient is, and
            what stands for each.
    """

    def __init__(
        self, images: Iterable[tuple[str, str]] = (), hidden: Mapping[str, str] | None = None
    ) -> None:
        self.hidden = hidden or {}
        self.within = ""
        self.found: dict[str, str] = {}  # what each cell that was asked for names
        self.deliveries: dict[str, Names] = {}
        self.ids: set[str] = set()
        self.paths: dict[str, set[str]] = {}  # the last parts of a path -> ids
        self.folded: dict[str, set[str]] = {}
        for key, image_id in images:
            self.ids.add(image_id)
            self.folded.setdefault(image_id.casefold(), set()).add(image_id)
            if "/" in image_id:
                parts = _without_suffix(_path_of(key)).split("/")
                for start in range(len(parts)):
                    self.paths.setdefault("/".join(parts[start:]), set()).add(image_id)

    def find(self, cell: str) -> str:
        """The id of the image that a cell names; of an image that was not delivered, the id that
        the cell gives.

        The cell may hold an id, a file's name, a path of any system or an address. Another case
        counts where it leaves no doubt.
        """
        found = self.found.get(cell)  # tables of one archive name the same images
        if found is None:
            found = self.found[cell] = self._found(cell)
        return found

    def _found(self, cell: str) -> str:
        if (whole := image_id_from(cell)) in self.ids:  # a name may hold what a path holds too
            return whole
        path = _path_of(cell)
        parts = _without_suffix(path).split("/") if self.paths else []
        for start in range(len(parts)):
            if one := self._one(self.paths.get("/".join(parts[start:]))):
                return one
        image_id = whole if path == cell else image_id_from(path)
        for each in dict.fromkeys((image_id, same_number(image_id), image_id.rstrip(". "))):
            if each in self.ids:
                return each
            if one := self._one(self.folded.get(each.casefold())):
                return one
        return self.hidden.get(image_id, image_id)

    def near(self, key: str) -> "Names":
        """These images, as a table of a delivery names them: of several, those of the delivery."""
        within = "/".join(key.split("/")[1:2]) + "/"
        if within not in self.deliveries:
            found = self.deliveries[within] = copy(self)
            found.within, found.found = within, {}
        return self.deliveries[within]

    def _one(self, meant: set[str] | None) -> str | None:
        if not meant:
            return None
        own = {each for each in meant if each.startswith(self.within)} if self.within else set()
        meant = own if len(meant) > 1 and own else meant
        return next(iter(meant)) if len(meant) == 1 else None

    def share(self, cells: Iterable[str]) -> float:
        """The share of cells that name a delivered image, 0 to 1."""
        told = list(cells)
        return sum(self.find(cell) in self.ids for cell in told) / max(len(told), 1)


def _without_suffix(path: str) -> str:
    """A path in small letters, without the suffix of an image."""
    return FILE_SUFFIX.sub("", path).casefold()


def _path_of(cell: str) -> str:
    """A cell as a path with ``/`` between its parts."""
    text = unicodedata.normalize("NFC", cell.strip())
    if re.match(r"[a-z][a-z0-9+.-]*://", text, re.IGNORECASE):
        text = unquote(urlsplit(text).path)
    return text.replace("\\", "/").strip("/")
