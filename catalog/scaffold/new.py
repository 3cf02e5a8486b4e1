"""The names of a new provider."""

import keyword
import re
import unicodedata
from urllib.parse import urlsplit

import msgspec

from catalog import provider_api
from catalog.core.media import MediaType
from catalog.ingestion.addresses import host_of
from catalog.ingestion.registry import FOLDER, provider_classes, provider_names


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
        if not re.fullmatch("[a-z][a-z0-9_]{1,39}", self.name) or keyword.iskeyword(self.name):
            return (
                f"the name {self.title!r} becomes {self.name!r}, which is not a valid name: use "
                "2 to 40 letters, digits and spaces"
            )
        if self.class_name in provider_api.__all__:
            return (
                f"the name {self.title!r} becomes the class {self.class_name}, which provider files import; "
                "add a word to it"
            )
        if self.name in provider_names() or (FOLDER / self.name).exists():
            return f"the provider {self.name} exists already: {FOLDER / self.name}"
        taken = {name: cls.name for cls in provider_classes() for name in cls.catalog_names.values()}
        if twice := [name for name in map(self.catalog_name, self.media) if name in taken]:
            return (
                f"the name {self.title!r} becomes {twice[0]!r} in the catalog, which is the name of the "
                f"provider {taken[twice[0]]}; choose another one"
            )
        if not self.title.isprintable():
            return f"the name {self.title!r} has a character that cannot be printed"
        if not _is_url(self.url):
            return f"{self.url!r} is not the URL of an API; use one such as https://api.example.org/v1/images"
        if urlsplit(self.url).username is not None:
            return "the URL holds a user name or password, which would be kept; leave it out"
        return None


def _is_url(url: str) -> bool:
    try:
        scheme = urlsplit(url).scheme
    except ValueError:
        return False
    host = re.fullmatch(r"[\w.:-]+", host_of(url))
    plain = url.isprintable() and not re.search(r"""[\s"'<>\\^`{|}]""", url)  # else they are percent-encoded
    return scheme in ("http", "https") and host is not None and plain
