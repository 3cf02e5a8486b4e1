"""Identity of an index: `_meta` of its mapping, the engine's uuid, and the alias for writing."""

import re
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import uuid4

import msgspec

from catalog.core.errors import Fatal

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,199}")
WAY_OUT = "clear create_index (of a filtered index: create_filtered_index) and all tasks after it"


class IndexIdentity(msgspec.Struct, frozen=True):
    """An index that is there.

    Attributes:
        name: of the index, never an alias.
        uuid: given by the engine; another index of the same name has another one.
        meta: its mapping's `_meta`; empty when the catalog did not make it.
        aliases: all that point at it, the private one included.
    """

    name: str
    uuid: str
    meta: Mapping[str, Any]
    aliases: tuple[str, ...] = ()

    @property
    def dag_id(self) -> str | None:
        """The DAG that made it; None when none of ours did."""
        return self.meta.get("dag_id")

    @property
    def run_id(self) -> str | None:
        return self.meta.get("run_id")

    @property
    def refresh(self) -> Any:
        """Which refresh made it, if its maker said so."""
        return self.meta.get("refresh")

    @property
    def writer(self) -> str:
        """Return the alias for writing. Raises Fatal if there is none: another version, or a person, made the index."""
        for alias in self.aliases:
            if is_private(alias, self.name):
                return alias
        raise Fatal(f"the index {self.name} has no alias of its own to write to; {WAY_OUT}.")


def writer_name(index: str) -> str:
    """Return a new alias each time, so that writes to an earlier index of the name fail.

    It begins like the index, so that rights given for `image-*` hold for it. No index of ours has a dot in
    its name.
    """
    return f"{index}.{uuid4().hex[:12]}"


def is_private(alias: str, index: str) -> bool:
    return alias.startswith(f"{index}.")


def public(aliases: Iterable[str], index: str) -> list[str]:
    """Aliases by which an index is found by others."""
    return sorted(alias for alias in aliases if not is_private(alias, index))


def identity_of(name: str, about: Mapping[str, Any]) -> IndexIdentity:
    """about: what the engine's `GET /<index>` says of one index."""
    meta = about.get("mappings", {}).get("_meta")
    return IndexIdentity(
        name,
        str(about["settings"]["index"]["uuid"]),
        meta if isinstance(meta, Mapping) else {},
        tuple(sorted(about.get("aliases", {}))),
    )
