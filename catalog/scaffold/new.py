"""The names of a new provider."""

import keyword
import re
import unicodedata
from urllib.parse import urlsplit

import msgspec

from catalog.core.media import MediaType
from catalog.ingestion.provider import FOLDER, provider_names


class NewProvider(msgspec.Struct, frozen=True):
    """A provider that is about to be created.

    Attributes:
        title: Its name as it is written.
        url: The address of the API's list of items.
        media: Its media types.
    """

    title: str
    url: str
    media: tuple[MediaType, ...]

    @property
    def name(self) -> str:
        """`Made-Up Museum` → `made_up_museum`: the folder, and the DAG `made_up_museum_workflow`."""
        plain = unicodedata.normalize("NFKD", self.title).encode("ascii", "ignore").decode()
        return re.sub("[^a-z0-9]+", "_", plain.lower()).strip("_")

    @property
    def class_name(self) -> str:
        """`Made-Up Museum` → `MadeUpMuseum`."""
        return "".join(part.capitalize() for part in self.name.split("_"))

    def catalog_name(self, medium: MediaType) -> str:
        """Return the short name that the catalog stores; each further media type has its own."""
        short = self.name.replace("_", "")
        return short if medium == self.media[0] else f"{short}_{medium}"

    def problem(self) -> str | None:
        """Return why the provider cannot be created, or None."""
        parts = urlsplit(self.url)
        if not re.fullmatch("[a-z][a-z0-9_]{1,39}", self.name) or keyword.iskeyword(self.name):
            return (
                f"the name {self.title!r} becomes {self.name!r}, which is not a valid name: use "
                "2 to 40 letters, digits and spaces"
            )
        if self.name in provider_names() or (FOLDER / self.name).exists():
            return f"the provider {self.name} exists already: {FOLDER / self.name}"
        if parts.scheme not in ("http", "https") or not parts.netloc:
            return f"{self.url!r} is not the URL of an API; use one such as https://api.example.org/v1/images"
        return None
