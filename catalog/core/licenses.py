"""Creative Commons licenses: parsed from a URL or a (license, version) pair, without network access.

A deed's URL carries more than the license: a jurisdiction (`/by/3.0/de/`), `/igo/`, a language (`deed.fr`),
`legalcode`. All variants stand for the same (license, version), so the path decides and redirects need not be
followed. Paths are listed at https://creativecommons.org/licenses/list.en and, for retired licenses, at
https://creativecommons.org/retiredlicenses/
"""

import re
from functools import lru_cache
from urllib.parse import unquote_plus, urlsplit

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
_JAPAN_ONLY = ("nc", "nc-sa", "nd", "nd-nc", "sa")  # version 2.0 exists only as the Japanese port
_PORTS_OF_2_1 = ("au", "es", "jp")  # only these jurisdictions published 2.1


class License(msgspec.Struct, frozen=True):
    """A license.

    Attributes:
        slug: Short name as stored in the column `license`, such as `by-nc`.
        version: Such as `4.0`, or `N/A`.
        url: The canonical URL of the deed.
        raw_url: The URL that the provider gave, if any.
    """

    slug: str
    version: str
    url: str
    raw_url: str | None = None


def _paths() -> dict[str, tuple[str, str]]:
    """Map each deed path to (slug, version)."""
    pairs: dict[str, tuple[str, str]] = {}
    for slug in _MAIN:
        for version in ("1.0", "2.0", "2.5", "3.0", "4.0"):
            if (slug, version) != ("by-nc-nd", "1.0"):
                pairs[f"licenses/{slug}/{version}"] = (slug, version)
        for port in _PORTS_OF_2_1:
            pairs[f"licenses/{slug}/2.1/{port}"] = (slug, "2.1")
    for path in _RETIRED:
        slug, version = path.split("/")
        pairs[f"licenses/{path}"] = (slug, version)
    for slug in _JAPAN_ONLY:
        pairs[f"licenses/{slug}/2.0/jp"] = (slug, "2.0")
    # Before 2.5, the order nd-nc was also used.
    pairs["licenses/by-nd-nc/1.0"] = ("by-nc-nd", "1.0")
    pairs["licenses/by-nd-nc/2.0/jp"] = ("by-nc-nd", "2.0")
    pairs["licenses/publicdomain"] = ("publicdomain", NOT_APPLICABLE)
    pairs["licenses/mark/1.0"] = ("pdm", "1.0")
    pairs["publicdomain/mark/1.0"] = ("pdm", "1.0")
    pairs["publicdomain/zero/1.0"] = ("cc0", "1.0")
    return pairs


PAIR_BY_PATH = _paths()
_CANONICAL = {
    "licenses/mark/1.0": "publicdomain/mark/1.0",
    "licenses/by-nd-nc/2.0/jp": "licenses/by-nc-nd/2.0",
}
# Two pages that explain the public-domain tools; SMK links them in place of the deeds.
_EXPLAINED = {
    "share-your-work/public-domain/cc0": "publicdomain/zero/1.0",
    "share-your-work/public-domain/pdm": "publicdomain/mark/1.0",
}


def _reverse() -> dict[tuple[str, str], str]:
    """Map (slug, version) to a deed path; prefer the international path to a spelling variant or a port."""
    paths: dict[tuple[str, str], str] = {}
    for path, pair in PAIR_BY_PATH.items():
        paths.setdefault(pair, _CANONICAL.get(path, path))
    for slug in _MAIN:
        paths[(slug, "2.1")] = f"licenses/{slug}/2.0"  # there is no international 2.1
    return paths


PATH_BY_PAIR = _reverse()
# Elements of a license after the path, as in `/by/4.0/nc`, contradict it; see `_contradicts` for the query.
_CONDITIONS = frozenset(("by", "nc", "nd", "sa"))
_ELEMENTS = _CONDITIONS | {"zero", "cc0", "mark", "pdm"}
_NAMES_A_LICENSE = re.compile("(?:.*_)?(?:licen[cs]e|type)", re.ASCII)  # of a parameter
_LANGUAGE = "[a-z]{2,3}(?:[-_](?:[a-z]{2}|[a-z]{4}|[0-9]{3}))?"
_PAGE = rf"(?:deed|legalcode)(?:\.{_LANGUAGE})?(?:\.(?:html?|txt|rdf))?|rdf"
_SUFFIX = rf"(?:/(?:{_LANGUAGE}|igo|scotland))?(?:/(?:{_PAGE}))?"
_KNOWN = re.compile(
    "("
    + "|".join(re.escape(path) for path in sorted(PAIR_BY_PATH, key=len, reverse=True))
    + ")"
    + f"(?:{_SUFFIX})$"
)


def license_from_url(url: object) -> License | None:
    """Parse the URL of a Creative Commons deed.

    Args:
        url: A URL on creativecommons.org, with any scheme or none, in any case, with or without a
            jurisdiction, IGO, a language, `deed` or `legalcode`. Values that are not a `str` give None.

    Returns:
        The license, or None if the URL is not that of a deed, or names elements of another license as well.
    """
    return _from_url(url) if isinstance(url, str) else None


@lru_cache(4096)
def _from_url(url: str) -> License | None:
    text = re.sub(r"^(?:https?:)?/{2,}", "", url.strip().lower())
    try:
        parts = urlsplit("https://" + text)
    except ValueError:
        return None
    if parts.netloc not in ("creativecommons.org", "www.creativecommons.org"):
        return None
    path = re.sub("/{2,}", "/", parts.path).strip("/")
    path = _EXPLAINED.get(path, path)
    if not (match := _KNOWN.fullmatch(path)):
        return None
    deed = match.group(1)
    slug, version = PAIR_BY_PATH[deed]
    if not _ELEMENTS.isdisjoint(_words(path[match.end(1) :])):
        return None
    if any(_contradicts(slug, part) for part in re.split("[&;]", f"{parts.query}&{parts.fragment}")):
        return None
    return License(slug, version, f"https://creativecommons.org/{_CANONICAL.get(deed, deed)}/", url)


def _contradicts(slug: str, part: str) -> bool:
    """Return whether a part of a query names a condition that a license lacks.

    A part names a license by its parameter, or if it holds nothing else. A title may have such words, too:
    `by`, or `NC` of Raleigh.
    """
    name, _, value = (unquote_plus(text).lower() for text in part.partition("="))
    for text, is_license in ((name, False), (value, _NAMES_A_LICENSE.fullmatch(name) is not None)):
        words = {word for word in _words(_short(text)) if word not in ("", "cc") and not word.isdigit()}
        if (is_license or words <= _CONDITIONS) and not words & _CONDITIONS <= set(slug.split("-")):
            return True
    return False


def _words(text: str) -> list[str]:
    return re.split("[^a-z0-9]", text)


def license_from_pair(slug: object, version: object, raw_url: str | None = None) -> License | None:
    """Return the license of a pair such as ("by-sa", "4") or ("pdm", 1.0).

    Args:
        slug: The license's short name, in any case.
        version: A number, or a string that holds one; `N/A` is the version of `publicdomain`.
        raw_url: The URL that the provider gave, if any.

    Returns:
        The license, or None if no license has this name and version.
    """
    if not isinstance(slug, str) or isinstance(version, bool) or not isinstance(version, str | int | float):
        return None
    try:
        number = version if version == NOT_APPLICABLE else str(float(version))
    except (ValueError, OverflowError):
        return None
    pair = slug.strip().lower(), str(number)
    if (path := PATH_BY_PAIR.get(pair)) is None:
        return None
    return License(
        *pair, f"https://creativecommons.org/{path}/", raw_url if isinstance(raw_url, str) else None
    )


_WORDS = (  # of the full names, in the order in which they are replaced
    ("creative commons", "cc"),
    ("attribution", "by"),
    ("non commercial|noncommercial", "nc"),
    ("no derivative works|no derivatives|noderivatives|no derivs|noderivs", "nd"),
    ("share alike|sharealike", "sa"),
    ("public domain mark", "pdm"),
    ("public domain dedication", ""),
    ("licen[cs]e|version|international|universal|unported|generic|deed", ""),
)
_NAME = re.compile(r"(?:cc )?(?P<slug>[a-z]+(?: [a-z]+)*|(?<=cc )0) ?(?P<version>\d\.\d|\d)?", re.ASCII)
_ALONE = {"cc0": "1.0", "pdm": "1.0"}  # those of which there is one version, which names leave out


def license_from_name(name: object, version: str | None = None) -> License | None:
    """Parse the name of a license.

    Args:
        name: Such as `CC BY-SA 4.0`, `CC0`, `Public Domain Mark 1.0`, or
            `Creative Commons Attribution-ShareAlike 4.0 International`.
        version: The version of licenses whose name holds none, if the API's terms say it.

    Returns:
        The license, or None if the text is anything else, or its version is unknown. "Public domain" alone
        names no license.
    """
    if not isinstance(name, str):
        return None
    text = _short(name).replace("cc0", "cc 0").replace("cc zero", "cc 0")
    if (match := _NAME.fullmatch(text)) is None:
        return None
    slug = match["slug"].replace(" ", "-").replace("0", "cc0")
    return license_from_pair(slug, match["version"] or _ALONE.get(slug, version))


def _short(name: str) -> str:
    """Return the name of a license with the short names of its elements, separated by spaces."""
    text = re.sub(r"[\s_()-]+", " ", name.strip().lower())
    for words, short in _WORDS:
        text = re.sub(rf"\b(?:{words})\b", short, text)
    return " ".join(text.split())


def _constant(slug: str) -> License:
    known = license_from_pair(slug, "1.0")
    assert known, slug
    return msgspec.structs.replace(known, raw_url=known.url)


CC0 = _constant("cc0")
PDM = _constant("pdm")
