"""Attribution of a work, as Creative Commons recommends it: title, author, source, license.

The recommendation: https://wiki.creativecommons.org/wiki/Recommended_practices_for_attribution
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from catalog.core.licenses import NOT_APPLICABLE, PATH_BY_PAIR

_MARKS = {"cc0": "CC0", "pdm": "Public Domain Mark", "publicdomain": "Public Domain"}  # no licenses
_RETIRED = {
    "devnations": "CC Developing Nations",
    "nc-sampling+": "CC NC-Sampling+",
    "sampling": "CC Sampling",
    "sampling+": "CC Sampling+",
}
_NAMES = _MARKS | _RETIRED
_SLUGS = frozenset(slug for slug, _ in PATH_BY_PAIR)


class Attribution(msgspec.Struct, frozen=True):
    """Attribution of a work.

    Attributes:
        text: The whole text, ready to be copied.
        license: Name of the license, such as `CC BY-SA 4.0`.
        license_url: Address of its deed; "" if it is unknown.
    """

    text: str
    license: str
    license_url: str


def license_name(slug: str, version: str | None) -> str:
    """Return the name of a license, such as `CC BY-NC 2.0`; all that are not Creative Commons' are unknown.

    Args:
        slug: As in the column `license`, such as `by-nc`; "" if there is none.
        version: As in the column `license_version`; None or "" if there is none.
    """
    slug, version = slug.lower(), version or NOT_APPLICABLE
    if not slug:
        return "an unknown license"
    known = (slug, version) in PATH_BY_PAIR or (version == NOT_APPLICABLE and slug in _SLUGS)
    if not known:
        return f"an unknown license ({slug}{'' if version == NOT_APPLICABLE else f' {version}'})"
    name = _NAMES.get(slug) or f"CC {slug.upper()}"
    return name if version == NOT_APPLICABLE else f"{name} {version}"


def attribution(record: Mapping[str, Any]) -> Attribution:
    """Build the attribution of a record.

    Args:
        record: Columns of a media table; any may be missing.
    """
    slug, version = (record.get("license") or "").lower(), record.get("license_version")
    path = PATH_BY_PAIR.get((slug, version or NOT_APPLICABLE))
    url = f"https://creativecommons.org/{path}/" if path else ""
    name = license_name(slug, version)
    title = f"“{record['title']}”" if record.get("title") else "This work"
    by = f" by {record['creator']}" if record.get("creator") else ""
    verb = "is marked with" if slug in _MARKS else "is licensed under"
    source = f" Source: {record['foreign_landing_url']}." if record.get("foreign_landing_url") else ""
    deed = f" To view the terms, visit {url}." if url else ""
    return Attribution(f"{title}{by} {verb} {name}.{deed}{source}", name, url)
