"""Creative Commons licenses: from a URL, or a (license, version) pair, to what the catalog stores. No network.

A deed's address carries more than the license: a jurisdiction (`/by/3.0/de/`), `/igo/`, a language (`deed.fr`), `legalcode`.
All of them stand for the same (license, version), so the path decides and redirects need not be followed.
Paths: https://creativecommons.org/licenses/list.en and, for the retired ones, https://creativecommons.org/retiredlicenses/
"""

import re
from functools import lru_cache
from urllib.parse import urlsplit

import msgspec

NOT_APPLICABLE = "N/A"
_MAIN = ("by", "by-nc", "by-nc-nd", "by-nc-sa", "by-nd", "by-sa")
_RETIRED = (
    "devnations/2.0",
    "nc/1.0",
    "nc-sa/1.0",
    "nc-sampling+/1.0",
    "nd/1.0",
    "nd-nc/1.0",
    "sa/1.0",
    "sampling/1.0",
    "sampling+/1.0",
)
_JAPAN_ONLY = ("nc", "nc-sa", "nd", "nd-nc", "sa")  # their 2.0 exists as the Japanese port only
_PORTS_OF_2_1 = ("au", "es", "jp")  # 2.1 was published by these jurisdictions only


class License(msgspec.Struct, frozen=True):
    """slug as stored in `license` (`by-nc`), version (`4.0` or `N/A`), canonical deed URL, and what the provider had given."""

    slug: str
    version: str
    url: str
    raw_url: str | None = None


def _paths() -> dict[str, tuple[str, str]]:
    """Deed path → (slug, version)."""
    found: dict[str, tuple[str, str]] = {}
    for slug in _MAIN:
        for version in ("1.0", "2.0", "2.5", "3.0", "4.0"):
            if (slug, version) != ("by-nc-nd", "1.0"):
                found[f"licenses/{slug}/{version}"] = (slug, version)
        for port in _PORTS_OF_2_1:
            found[f"licenses/{slug}/2.1/{port}"] = (slug, "2.1")
    for path in _RETIRED:
        slug, version = path.split("/")
        found[f"licenses/{path}"] = (slug, version)
    for slug in _JAPAN_ONLY:
        found[f"licenses/{slug}/2.0/jp"] = (slug, "2.0")
    # Before 2.5 the same license was also spelled nd-nc.
    found["licenses/by-nd-nc/1.0"] = ("by-nc-nd", "1.0")
    found["licenses/by-nd-nc/2.0/jp"] = ("by-nc-nd", "2.0")
    found["licenses/publicdomain"] = ("publicdomain", NOT_APPLICABLE)
    found["licenses/mark/1.0"] = ("pdm", "1.0")
    found["publicdomain/mark/1.0"] = ("pdm", "1.0")
    found["publicdomain/zero/1.0"] = ("cc0", "1.0")
    return found


PATHS = _paths()
_CANONICAL = {
    "licenses/mark/1.0": "publicdomain/mark/1.0",
    "licenses/by-nd-nc/2.0/jp": "licenses/by-nc-nd/2.0",
}
# Two pages that explain the public-domain tools and are used as if they were the deeds (SMK).
_EXPLAINED = {
    "share-your-work/public-domain/cc0": "publicdomain/zero/1.0",
    "share-your-work/public-domain/pdm": "publicdomain/mark/1.0",
}


def _reverse() -> dict[tuple[str, str], str]:
    """(slug, version) → deed path; the plain international path wins over a spelling variant or a port."""
    found: dict[tuple[str, str], str] = {}
    for path, pair in PATHS.items():
        found.setdefault(pair, _CANONICAL.get(path, path))
    for slug in _MAIN:
        found[(slug, "2.1")] = f"licenses/{slug}/2.0"  # there is no international 2.1
    found[("pdm", "1.0")] = "publicdomain/mark/1.0"
    return found


REVERSE = _reverse()
_AFTER = r"(?:/(?:[a-z]{2,3}(?:[-_][a-z0-9]+)?|igo|scotland))?(?:/(?:deed|legalcode)[a-z0-9._-]*|/rdf)?"
_KNOWN = re.compile(
    "(" + "|".join(re.escape(path) for path in sorted(PATHS, key=len, reverse=True)) + ")" + f"(?:{_AFTER})$"
)


@lru_cache(4096)
def license_from_url(url: object) -> License | None:
    """The license that a deed's URL stands for, or None.

    Accepts any scheme or none, any case, jurisdictions, IGO, languages, `deed`, `legalcode`; the host must be creativecommons.org.
    """
    if not isinstance(url, str):
        return None
    text = url.strip().lower()
    text = re.sub(r"^(?:https?:)?/{2,}", "", text)
    parts = urlsplit("https://" + text) if "[" not in text and "]" not in text else None
    if parts is None or parts.netloc not in ("creativecommons.org", "www.creativecommons.org"):
        return None
    path = re.sub("/{2,}", "/", parts.path).strip("/")
    path = _EXPLAINED.get(path, path)
    if not (match := _KNOWN.fullmatch(path)):
        return None
    deed = match.group(1)
    slug, version = PATHS[deed]
    return License(slug, version, f"https://creativecommons.org/{_CANONICAL.get(deed, deed)}/", url)


@lru_cache(4096)
def license_from_pair(slug: object, version: object, raw_url: str | None = None) -> License | None:
    """The license named by a pair such as ("by-sa", "4") or ("pdm", 1.0), or None. `N/A` is the version of `publicdomain`."""
    if not isinstance(slug, str):
        return None
    slug = slug.strip().lower()
    if version != NOT_APPLICABLE:
        try:
            version = str(float(str(version)))
        except ValueError:
            return None
    path = REVERSE.get((slug, str(version)))
    return License(slug, str(version), f"https://creativecommons.org/{path}/", raw_url) if path else None


def _constant(slug: str) -> License:
    found = license_from_pair(slug, "1.0")
    assert found, slug
    return msgspec.structs.replace(found, raw_url=found.url)


CC0 = _constant("cc0")
PDM = _constant("pdm")
