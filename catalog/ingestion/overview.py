"""The table of all providers, for the command line and docs/providers.md."""

import msgspec

from catalog.ingestion.provider import Provider
from catalog.ingestion.registry import provider_classes


class Facts(msgspec.Struct, frozen=True):
    """The declaration of a provider in words."""

    name: str
    media: str
    schedule: str
    dated: str
    key: str
    rate: str
    popularity: str


def facts(cls: type[Provider]) -> Facts:
    """Put the declaration of a provider into words."""
    keys = [f"`{cls.key.variable}`"] if cls.key else []
    keys += ["or OAuth2"] if cls.oauth2 else []
    rate = (
        "a dump, not an API"
        if cls.dump
        else f"{cls.rate}" + (f", {cls.quota.requests:,} a {cls.quota.period}" if cls.quota else "")
    )
    return Facts(
        cls.name,
        ", ".join(cls.catalog_names),
        f"`{cls.schedule}`",
        "yes" if cls.dated else "since a day" if cls.since else "no",
        " ".join(keys) or "none",
        rate,
        cls.popularity or "none",
    )


def overview() -> list[Facts]:
    """Return the facts of all providers that can be imported, ordered by name."""
    return [facts(cls) for cls in provider_classes()]
