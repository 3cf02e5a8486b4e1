"""Cleans URLs for storage: absolute, printable, on a public host, and with https if the host supports it.

A table of known hosts decides about https; other hosts are probed, if there is a probe. As long as nobody
knows, because a host is away or there is no probe, its URLs keep the scheme that the provider gives; a URL
without a scheme gets https. So a host whose firewall drops requests for https gets no addresses that lead
nowhere; and one that is away for a moment changes nothing that is stored, because a load keeps https
(`loading/columns.py`).
"""

import re
from collections.abc import Callable
from contextlib import suppress
from ipaddress import AddressValueError, IPv4Address
from urllib.parse import urlsplit

import idna
from tldextract import TLDExtract

# Hosts that support https, although APIs still return their URLs with http://.
SPEAKS_TLS = frozenset(
    """
    api.finna.fi archive.org biodiversitylibrary.org ccmixter.org collections.museumsvictoria.com.au
    commons.wikimedia.org cdn.stocksnap.io creativecommons.org digitalcollections.nypl.org en.wikipedia.org
    flic.kr freesound.org ids.si.edu images.nypl.org jamendo.com live.staticflickr.com media.europeana.eu
    pd.w.org stocksnap.io upload.wikimedia.org usercontent.jamendo.com wordpress.org www.europeana.eu
    www.finna.fi www.flickr.com www.jamendo.com www.wikimedia.org
    """.split()
)
# The suffix list of the package; workers must not download one.
_SUFFIXES = TLDExtract(suffix_list_urls=(), cache_dir=None)
_SCHEME = re.compile(r"^(?:http(s*):)?/+", re.IGNORECASE)
_OTHER_SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*:(?!\d+(?:/|$))", re.IGNORECASE)
_UNSTORABLE = re.compile(r'["\\]')
_ASCII_HOST = re.compile(r"(?:[a-z0-9_-]{1,63}\.)+[a-z0-9_-]{1,63}\.?", re.IGNORECASE)
MAX_HOST = 253  # characters, the limit of DNS
Probe = Callable[[str], bool | None]


def ascii_host(host: str) -> str | None:
    """Return a host name in ASCII, as used in requests; None if IDNA or DNS does not allow it."""
    if not host.isascii():
        try:  # as strict as urllib3, which would otherwise refuse the URL during a request
            host = idna.encode(host.lower(), strict=True, std3_rules=True).decode()
        except UnicodeError:
            return None
    return host if len(host) <= MAX_HOST and _ASCII_HOST.fullmatch(host) else None


def is_public_host(host: str) -> bool:
    """Return whether a host is a name below a public suffix, or a global IPv4 address.

    Addresses in other forms (one number, hexadecimal, IPv6) are refused, because no media are published
    there.
    """
    name = ascii_host(host)
    if name is None:
        return False
    try:
        address = IPv4Address(name)
    except AddressValueError:
        return bool(_SUFFIXES.extract_str(name).top_domain_under_public_suffix)
    return address.is_global and not address.is_multicast


class UrlCleaner:
    """Cleans the URLs of a provider, and remembers which hosts support https.

    Attributes:
        strip_slashes: Remove slashes from the end of URLs.
        known: Origins, such as `https://host/`, that have been checked.
    """

    def __init__(self, probe: Probe | None = None, strip_slashes: bool = True) -> None:
        """Create a cleaner.

        Args:
            probe: Returns whether a host supports https; None, or an exception, if that is unknown. Called
                once for each host; while it is unknown, again at the host's 10th, 100th, 1,000th … URL.
                None disables probing (replays, tests, no network).
            strip_slashes: Remove slashes from the end of URLs; WordPress' landing pages need theirs.
        """
        self.strip_slashes = strip_slashes
        self.known: set[str] = set()
        self._probe = probe
        self._tls: dict[str, bool] = {}
        self._unknown: dict[str, int] = {}  # host → its URLs so far
        self._next: dict[str, int] = {}  # host → the URL at which it is asked

    def clean(self, value: object, size: int, *, strip_slashes: bool | None = None) -> str | None:
        """Clean a URL and choose its scheme.

        Args:
            value: The value that the provider gives as a URL.
            size: Maximum length in characters.
            strip_slashes: Remove slashes from the end; None for the cleaner's default.

        Returns:
            The URL, or None if the value is not a URL or too long.
        """
        # +100: slashes and spaces may still be removed.
        if type(value) is not str or not value or len(value) > size + 100:
            return None
        strip = self.strip_slashes if strip_slashes is None else strip_slashes
        if value[: value.find("/", 8) + 1] in self.known and value.isprintable() and len(value) <= size:
            plain = '"' not in value and "\\" not in value and " " not in value
            if plain and not (strip and value[-1] == "/"):
                return value
        return self._thorough(value, size, strip)

    def _thorough(self, value: str, size: int, strip: bool) -> str | None:
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
        text = (text.strip("/") if strip else text).replace(" ", "%20")
        host = self._host(text)
        if host is None:
            return None
        if not secure and not self._answers_tls(host, otherwise=not given_http):
            text = "http://" + text
        else:
            text = "https://" + text
            self.known.add("https://" + re.split("[/?#]", text[8:], maxsplit=1)[0] + "/")
        return text if len(text) <= size else None

    @staticmethod
    def _host(rest: str) -> str | None:
        try:
            parts = urlsplit("https://" + rest)
            host, _ = parts.hostname, parts.port  # reading a malformed port raises, too
        except ValueError:
            return None
        return host if host and is_public_host(host) else None

    def _answers_tls(self, host: str, otherwise: bool) -> bool:
        if host in SPEAKS_TLS:
            return True
        if self._probe is not None and host not in self._tls:
            self._unknown[host] = met = self._unknown.get(host, 0) + 1
            if met == self._next.get(host, 1):
                self._next[host] = 10 * met
                self._ask(self._probe, host)
        return self._tls.get(host, otherwise)

    def _ask(self, probe: Probe, host: str) -> None:
        with suppress(Exception):  # a probe may raise any error for an unusual host
            if (answer := probe(host)) is not None:
                self._tls[host] = answer


def without_param(url: str | None, param: str) -> str | None:
    """Remove one query parameter from a URL; the rest is unchanged."""
    if not url:
        return None
    base, _, query = url.partition("?")
    kept = "&".join(pair for pair in query.split("&") if pair and pair.partition("=")[0] != param)
    return f"{base}?{kept}" if kept else base
