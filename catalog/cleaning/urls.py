"""The rule of URLs. Nothing is requested: the table of known hosts decides about https, as in a pull."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, LiteralString

from catalog.cleaning.rule import Cleaned, Rule, any_of
from catalog.cleaning.texts import UNTIDY_CHARACTERS
from catalog.core.columns import MAX_URL_BYTES, SIZES
from catalog.ingestion.registry import provider_classes
from catalog.ingestion.urls import SPEAKS_TLS, UrlCleaner

COLUMNS = ("foreign_landing_url", "url", "thumbnail", "creator_url")
_HOSTS = 100_000  # that a cleaner remembers


@cache
def _strips() -> dict[str, bool]:
    """Return whether the URLs of a provider end without slashes, by its name in the catalog."""
    return {name: cls.strip_slashes for cls in provider_classes() for name in cls.catalog_names.values()}


@cache
def _cleaner(strip_slashes: bool) -> UrlCleaner:
    return UrlCleaner(strip_slashes=strip_slashes)


def _clean(row: Mapping[str, Any]) -> Cleaned:
    # A provider that this release does not know may need its slashes.
    cleaner = _cleaner(_strips().get(row["provider"], False))
    if len(cleaner.known) > _HOSTS:
        cleaner.known.clear()
    cleaned = Cleaned()
    for column in COLUMNS:
        value = row[column]
        if value is None:
            continue
        if value == "" and column in ("thumbnail", "creator_url"):
            cleaned.set(row, column, None)
            continue
        url = cleaner.clean(value, SIZES[column])
        if url is None:
            cleaned.left.append(f"{column} is not a URL")
        elif column == "url" and len(url.encode()) > MAX_URL_BYTES:
            cleaned.left.append("url too long")
        else:
            cleaned.set(row, column, url)
    return cleaned


def _condition(columns: tuple[str, ...]) -> LiteralString:
    secure: LiteralString = "|".join(re.escape(host) for host in sorted(SPEAKS_TLS))
    usual: LiteralString = r"^https?://(?:[a-zA-Z0-9_-]+[.])+[a-zA-Z0-9_-]+[.]?(?::[0-9]+)?(?:[/?#]|$)"
    return any_of(
        columns,
        '{column} collate "C" !~ \'' + usual + "'"
        ' or {column} collate "C" ~ \'' + UNTIDY_CHARACTERS + r"| |\\|/$'"
        " or {column} ~* '^http://(" + secure + ")'",
    )


URLS = Rule(
    "urls",
    "URLs without a scheme, with spaces, or with slashes at the end that the provider's do not have; http "
    "where the host is known to support https",
    COLUMNS,
    ("provider",),
    _condition,
    _clean,
)
