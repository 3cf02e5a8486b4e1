"""Identity of an index: `_meta` of its mapping, the engine's uuid, and the alias for writing."""

import re
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import uuid4

import msgspec

from catalog.core.errors import Fatal

FILTERED_SUFFIX = "-filtered"  # of aliases and indexes without sensitive media
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,199}")
_STRAY = re.compile(NAME.pattern + r"\.writer-[0-9a-f]{12}")  # a mere number might be a person's date
REMEDY = (
    "clear create_index, create_filtered_index or copy_documents, whichever makes it, and all tasks after it"
)


class IndexIdentity(msgspec.Struct, frozen=True):
    """An existing index.

    Attributes:
        name: Name of the index, never an alias.
        uuid: Assigned by the engine; an index that is recreated under the same name has another one.
        meta: `_meta` of its mapping; empty if the catalog did not create it.
        aliases: All aliases of it, the private one included.
    """

    name: str
    uuid: str
    meta: Mapping[str, Any]
    aliases: tuple[str, ...] = ()

    @property
    def dag_id(self) -> str | None:
        """The DAG that created it; None if no DAG of the catalog did."""
        return self.meta.get("dag_id")

    @property
    def run_id(self) -> str | None:
        return self.meta.get("run_id")

    @property
    def refresh(self) -> Any:
        """Number of the refresh that created it; None if it is not recorded."""
        return self.meta.get("refresh")

    @property
    def writer(self) -> str:
        """The alias for writing.

        Raises:
            Fatal: It has none, because an earlier version or a person created the index.
        """
        for alias in self.aliases:
            if is_private(alias, self.name):
                return alias
        raise Fatal(f"the index {self.name} has no alias of its own to write to; {REMEDY}.")


def writer_name(index: str) -> str:
    """Return a new private alias, so that writes to an earlier index of the same name fail.

    It begins with the name of the index, so that privileges on `image-*` cover it. The names of indexes have
    no dot.
    """
    return f"{index}.writer-{uuid4().hex[:12]}"


def is_stray(index: IndexIdentity) -> bool:
    """Return whether the engine has made an index on its own, with the name of a private alias.

    It does when an index is deleted while another one is copied into it; `require_alias` is checked at the
    beginning only.
    """
    return not index.meta and bool(_STRAY.fullmatch(index.name))


def is_private(alias: str, index: str) -> bool:
    return alias.startswith(f"{index}.")


def preflight_prefix(media_type: str) -> str:
    """Return how the names of indexes begin that only checks create, and delete."""
    return f"{media_type}-preflight-"


def filtered_name(name: str) -> str:
    """Return the name of the alias or index without sensitive media that belongs to one."""
    return f"{name}{FILTERED_SUFFIX}"


def is_filtered(name: str) -> bool:
    """Return whether an alias or index is one without sensitive media, which its name says."""
    return name.endswith(FILTERED_SUFFIX)


def public(aliases: Iterable[str], index: str) -> list[str]:
    """Return the aliases of an index without the private one."""
    return sorted(alias for alias in aliases if not is_private(alias, index))


def identity_of(name: str, about: Mapping[str, Any]) -> IndexIdentity:
    """Parse the identity of an index.

    Args:
        name: Its name.
        about: The engine's answer to `GET /<index>` for this index.
    """
    meta = about.get("mappings", {}).get("_meta")
    return IndexIdentity(
        name,
        str(about["settings"]["index"]["uuid"]),
        meta if isinstance(meta, Mapping) else {},
        tuple(sorted(about.get("aliases", {}))),
    )
