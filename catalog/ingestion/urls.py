"""URLs as the catalog stores them: absolute, https where the host speaks it, on a public host, printable.

Whether a host speaks TLS is decided without a request on the hot path: by a table of known hosts, then by a
probe (if there is one) that is asked once for each host. Without a probe, an unknown `http://` host keeps its
scheme, and an address without a scheme gets https.
"""

import re
from collections.abc import Callable
from ipaddress import AddressValueError, IPv4Address
from urllib.parse import urlsplit

import idna
from tldextract import TLDExtract

# Hosts whose pages we have met as http:// although they have answered https:// for years.
SPEAKS_TLS = frozenset(
    """
    api.finna.fi archive.org biodiversitylibrary.org ccmixter.org collections.museumsvictoria.com.au
    commons.wikimedia.org cdn.stocksnap.io creativecommons.org digitalcollections.nypl.org en.wikipedia.org
    flic.kr freesound.org ids.si.edu images.nypl.org jamendo.com live.staticflickr.com media.europeana.eu
    pd.w.org stocksnap.io upload.wikimedia.org usercontent.jamendo.com wordpress.org www.europeana.eu
    www.finna.fi www.flickr.com www.jamendo.com www.wikimedia.org
    """.split()
)
_SUFFIXES = TLDExtract(
    suffix_list_urls=(), cache_dir=None
)  # the list in the package; workers must not fetch one
_SCHEME = re.compile(r"^(?:http(s*):)?/+", re.IGNORECASE)
_OTHER_SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*:(?!\d+(?:/|$))", re.IGNORECASE)
_UNSTORABLE = re.compile(r'["\\]')
_ASCII_HOST = re.compile(r"(?:[a-z0-9_-]{1,63}\.)+[a-z0-9_-]{1,63}\.?", re.IGNORECASE)
MAX_HOST = 253  # characters, as DNS has it


def ascii_host(host: str) -> str | None:
    """The host as a request names it, or None when no request can be made because IDNA or DNS refuses it."""
    if not host.isascii():
        try:  # as strict as urllib3, which otherwise refuses the URL in the middle of a request
            host = idna.encode(host.lower(), strict=True, std3_rules=True).decode()
        except UnicodeError:
            return None
    return host if len(host) <= MAX_HOST and _ASCII_HOST.fullmatch(host) else None


def is_public_host(host: str) -> bool:
    """Is it a name with a label of its own below a public suffix, or a global IPv4 address?

    Literal addresses in other forms (one number, hexadecimal, IPv6) are refused: no media are published
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
    """Turns what a provider calls a URL into one that can be stored; keeps what it learned about hosts.

    Args:
        probe: Whether a host answers https; asked once for each. One that raises counts as "no". None
            switches probing off (replays, tests, no network).
        strip_slashes: Drop slashes at the end; WordPress' landing pages need theirs.
    """

    def __init__(self, probe: Callable[[str], bool] | None = None, strip_slashes: bool = True) -> None:
        self.strip_slashes = strip_slashes
        self.known: set[str] = set()  # origins such as https://host/ that need no second look
        self._probe = probe
        self._tls: dict[str, bool] = {}

    def clean(self, value: object, size: int, *, strip_slashes: bool | None = None) -> str | None:
        """The URL with its best scheme.

        Args:
            value: What a provider calls a URL.
            size: The most characters it may have.
            strip_slashes: Whether slashes at the end are dropped; None: as for the cleaner's other URLs.

        Returns:
            The URL, or None when the value is none, or is too long.
        """
        if (
            type(value) is not str or not value or len(value) > size + 100
        ):  # +100: slashes and spaces may still go
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
            host, _ = parts.hostname, parts.port  # reading a port that is no number raises, too
        except ValueError:
            return None
        return host if host and is_public_host(host) else None

    def _answers_tls(self, host: str, otherwise: bool) -> bool:
        if host in SPEAKS_TLS:
            return True
        if host not in self._tls:
            if self._probe is None:
                return otherwise
            try:
                self._tls[host] = self._probe(host)
            except Exception:  # a client may raise anything for an odd host; https was not seen to work
                self._tls[host] = False
        return self._tls[host]


def without_param(url: str | None, param: str) -> str | None:
    """The address less one query parameter; everything else stays as it was written."""
    if not url:
        return None
    base, _, query = url.partition("?")
    kept = "&".join(pair for pair in query.split("&") if pair and pair.partition("=")[0] != param)
    return f"{base}?{kept}" if kept else base
