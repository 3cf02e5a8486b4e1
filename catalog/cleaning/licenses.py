"""The rule of licenses: name, version and the URL in `meta_data` agree."""

import json
from collections.abc import Mapping
from typing import Any, LiteralString

from catalog.cleaning.meta_data import NO_OBJECT, object_of
from catalog.cleaning.rule import Cleaned, Rule, parsed
from catalog.core.licenses import PATH_BY_PAIR, License, license_from_pair, license_from_url

UNKNOWN = "a license that Creative Commons does not have"
CONTRADICTION = "a license_url of another license"
NO_LICENSE = "a license_url that is not the URL of a license"


def _clean(row: Mapping[str, Any]) -> Cleaned:
    meta = object_of(row["meta_data"])
    given = meta.get("license_url") if meta else None
    by_url = license_from_url(given)
    known = license_from_pair(row["license"], row["license_version"]) or _of_version(row, by_url)
    if known is None:
        return Cleaned(left=[UNKNOWN])
    if by_url and (by_url.slug, by_url.version) != (known.slug, known.version):
        return Cleaned(left=[CONTRADICTION])
    cleaned = Cleaned()
    cleaned.set(row, "license", known.slug)
    cleaned.set(row, "license_version", known.version)
    if meta is None:
        cleaned.left.append(NO_OBJECT)
    elif given and not by_url:
        cleaned.left.append(NO_LICENSE)
    elif (url := (by_url or known).url) != given:
        raw = {"raw_license_url": given} if given and not meta.get("raw_license_url") else {}
        value = {**meta, "license_url": url, **raw}
        if row["meta_data"] is None or parsed(row["meta_data"]) != value:
            cleaned.changes["meta_data"] = value
    return cleaned


def _of_version(row: Mapping[str, Any], by_url: License | None) -> License | None:
    """Return the license whose version only the URL names, if the names agree."""
    name = (row["license"] or "").strip().lower()
    return by_url if by_url and name == by_url.slug and not (row["license_version"] or "").strip() else None


def _condition(_columns: tuple[str, ...]) -> LiteralString:
    urls = {
        f"{slug} {version}": f"https://creativecommons.org/{path}/"
        for (slug, version), path in PATH_BY_PAIR.items()
    }
    known: LiteralString = json.dumps(urls)
    return (
        "license is null or license_version is null or meta_data ->> 'license_url' is distinct from ('"
        + known
        + "'::jsonb ->> (license || ' ' || license_version))"
        " or meta_data ->> 'license_url' is null"
    )


LICENSES = Rule(
    "licenses",
    "licenses with capitals or versions such as `4`; a license_url that is missing, or is a variant of the "
    "license's own (kept as raw_license_url)",
    ("license", "license_version", "meta_data"),
    (),
    _condition,
    _clean,
)
