"""URLs as the catalog stores them: absolute, https where the host speaks it, on a real domain, without odd characters.

Whether a host answers TLS is decided without a request on the hot path: a table of hosts we know, then a probe (if there is one),
asked once a host and remembered. Without a probe an unknown `http://` host keeps its scheme, and an address without scheme gets https.
"""

import re
from collections.abc import Callable
from ipaddress import AddressValueError, IPv4Address
from urllib.parse import urlsplit

from tldextract import TLDExtract

# Hosts whose pages we have met as http:// although they have answered https:// for years.
SPEAKS_TLS = frozenset(
    """
    api.finna.fi archive.org biodiversitylibrary.org ccmixter.org collections.museumsvictoria.com.au commons.wikimedia.org
    cdn.stocksnap.io creativecommons.org digitalcollections.nypl.org en.wikipedia.org flic.kr freesound.org ids.si.edu
    images.nypl.org jamendo.com live.staticflickr.com media.europeana.eu pd.w.org stocksnap.io upload.wikimedia.org
    usercontent.jamendo.com wordpress.org www.europeana.eu www.finna.fi www.flickr.com www.jamendo.com www.wikimedia.org
    """.split()
)
_SUFFIXES = TLDExtract(
    suffix_list_urls=(), cache_dir=None
)  # the list in the package; workers must not fetch one
_SCHEME = re.compile(r"^(?:http(s*):)?/+", re.IGNORECASE)
_OTHER_SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*:(?!\d+(?:/|$))", re.IGNORECASE)
_UNSTORABLE = re.compile(r'["\\]')


def is_public_name(host: str) -> bool:
    """Does the name end in a public suffix below which it has a label of its own, or is it an IPv4 address?"""
    if _SUFFIXES.extract_str(host).top_domain_under_public_suffix:
        return True
    try:
        IPv4Address(host)
    except AddressValueError:
        return False
    return True


class UrlCleaner:
    """Turns what a provider calls a URL into one that can be stored; keeps what it learned about hosts.

    probe: does this host answer https? Asked once a host; None switches probing off (replays, tests, no network).
    strip_slashes: drop slashes at the end; WordPress' landing pages need theirs.
    """

    def __init__(self, probe: Callable[[str], bool] | None = None, strip_slashes: bool = True) -> None:
        self.strip_slashes = strip_slashes
        self.known: set[str] = set()  # origins such as https://host that need no second look
        self._probe = probe
        self._tls: dict[str, bool] = {}

    def clean(self, value: object, size: int) -> str | None:
        """The URL with its best scheme, or None when it is no URL, or longer than `size` characters."""
        if (
            type(value) is not str or not value or len(value) > size + 100
        ):  # +100: slashes and spaces may still go
            return None
        end = value.find("/", 8)
        if value[: end if end > 0 else None] in self.known and value.isprintable() and len(value) <= size:
            plain = '"' not in value and "\\" not in value and " " not in value
            if plain and not (self.strip_slashes and value[-1] == "/"):
                return value
        return self._thorough(value, size)

    def _thorough(self, value: str, size: int) -> str | None:
        text = value.strip()
        if not text.isprintable() or _UNSTORABLE.search(text):
            return None
        if match := _SCHEME.match(text):
            secure = bool(match.group(1))
            given_http = match.group(0)[:1] in "hH" and not secure
            text = text[match.end() :]
        elif _OTHER_SCHEME.match(text):
            return None
        else:
            secure, given_http = False, False
        if self.strip_slashes:
            text = text.strip("/")
        text = text.replace(" ", "%20")
        host = self._host(text)
        if host is None:
            return None
        if not secure and not self._answers_tls(host, otherwise=not given_http):
            text = "http://" + text
        else:
            text = "https://" + text
            self.known.add("https://" + re.split("[/?#]", text[8:], maxsplit=1)[0])
        return text if len(text) <= size else None

    @staticmethod
    def _host(rest: str) -> str | None:
        try:
            host = urlsplit("https://" + rest).hostname
        except ValueError:
            return None
        return host if host and is_public_name(host) else None

    def _answers_tls(self, host: str, otherwise: bool) -> bool:
        if host in SPEAKS_TLS:
            return True
        if host not in self._tls:
            if self._probe is None:
                return otherwise
            self._tls[host] = self._probe(host)
        return self._tls[host]


def without_param(url: str | None, param: str) -> str | None:
    """The address less one query parameter; everything else stays as it was written."""
    if not url:
        return None
    base, _, query = url.partition("?")
    kept = "&".join(pair for pair in query.split("&") if pair and pair.partition("=")[0] != param)
    return f"{base}?{kept}" if kept else base
