"""HTTP transport for addresses that cannot be trusted, and servers that cannot either.

What `requests` and `http.client` lack is added below them:

- only addresses of the public internet are connected to, looked at after the name was resolved; what was
  looked at is what is connected to (`addresses`);
- every read ends with the deadline of the answer (`deadline`);
- a header line may be of any length. ccMixter sends its whole answer a second time as the header `X-Json`,
  far over the 64 KiB that `http.client` accepts. Nobody reads such a header, so the line is cut.
"""

import http.client
import io
import logging
import re
import socket
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any, BinaryIO, ClassVar, cast
from urllib.parse import urljoin

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import requote_uri, select_proxy
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import (
    ConnectTimeoutError,
    LocationParseError,
    NameResolutionError,
    NewConnectionError,
)
from urllib3.util import parse_url
from urllib3.util.connection import allowed_gai_family

from catalog.core.errors import BadAddress, Retry
from catalog.ingestion.addresses import is_global
from catalog.ingestion.deadline import Deadline, TimedReader, deadline, within_deadline

KEPT = 1 << 15  # bytes of a header line; http.client refuses more than 65 536
MAX_LINE = 64 << 20
_PROBE = 2.0  # seconds
_HOST = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]+(?:%[a-z0-9._-]+)?", re.IGNORECASE)  # a name, or an IPv6 address

# What the libraries below a client raise. A ValueError is about the address: a label that is too long, an
# unknown scheme, brackets that do not close.
LIBRARY_ERRORS = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
    ValueError,
)


def as_ours(
    error: Exception, until: Deadline, redact: Callable[[str], str], request: str
) -> Retry | BadAddress:
    """What to do about an error of the libraries.

    Args:
        error: One of `LIBRARY_ERRORS`.
        until: The deadline in force when it was raised.
        redact: Takes the secrets out of a text.
        request: What was asked, for the message.
    """
    text = redact(f"{type(error).__name__}: {error}")[:800]
    if isinstance(error, ValueError) and not isinstance(error, requests.exceptions.InvalidHeader):
        return BadAddress(f"{request}: {text}")
    if until.passed():
        return Retry(f"the answer was not complete after {until.seconds:g} s")
    if isinstance(error, urllib3.exceptions.DecodeError):
        return Retry(f"the body could not be decompressed: {text}")
    return Retry(text)


def host_of(url: str) -> str:
    """The host of an address, in lower case; "" when there is none.

    It is read as the libraries read it that connect to it. Other parsers may find another host in an address
    that was made for that.
    """
    try:
        return (parse_url(url).host or "").lower().strip("[]").rstrip(".")
    except LocationParseError:
        return ""


# reading


class _ShortLines:
    """A file whose lines are cut; for reading headers."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def readline(self, limit: int = -1) -> bytes:
        line = self._file.readline(MAX_LINE)
        return line if len(line) <= KEPT else line[:KEPT] + b"\r\n"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        raw = self.fp.detach()
        self.fp = cast(Any, io.BufferedReader(TimedReader(raw, sock)))

    def begin(self) -> None:
        file = self.fp
        self.fp = cast(Any, _ShortLines(file))
        try:
            super().begin()
        finally:
            if self.fp is not None:  # None: there is no body, it was closed
                self.fp = file


# connecting


def _resolve(host: str, port: int) -> list[str]:
    """The addresses of a host. Raises socket.gaierror without any, ValueError when it is no host name."""
    if not _HOST.fullmatch(host):
        raise ValueError(f"{host!r} is no host name")
    host.encode("idna")  # labels that are empty or too long
    found = socket.getaddrinfo(host, port, allowed_gai_family(), socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _refuse_private(host: str, addresses: Collection[str]) -> None:
    """Raises BadAddress when one of a host's addresses is not on the public internet."""
    for address in addresses:
        if not is_global(address):
            where = "" if address == host else f" is at {address}, which"
            raise BadAddress(f"{host}{where} is not on the public internet")


class _Connection(HTTPConnection):
    """Mixed into urllib3's connections."""

    response_class = _Response
    private_hosts: ClassVar[Collection[str] | None] = None  # None: a proxy's, which the operator has named

    def _new_conn(self) -> socket.socket:
        *others, last = self._addresses(self._dns_host)
        for address in others:
            with suppress(ConnectTimeoutError, NewConnectionError):
                return self._connect(address)
        return self._connect(last)

    def _connect(self, address: str) -> socket.socket:
        """Connect to an address. Only the socket sees it: certificate and `Host` are still the name's."""
        name, timeout = self._dns_host, self.timeout
        self._dns_host, self.timeout = address, within_deadline(timeout)
        try:
            return super()._new_conn()
        finally:
            self._dns_host, self.timeout = name, timeout

    def _addresses(self, name: str) -> list[str]:
        """What to connect to: addresses that were looked at, or the name where any address will do."""
        host = name.strip("[]").rstrip(".").lower()
        if self.private_hosts is None or host in self.private_hosts:
            return [name]
        try:
            addresses = _resolve(name.strip("[]"), self.port)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        _refuse_private(host, addresses)
        return addresses


PoolClasses = dict[str, type[HTTPConnectionPool]]


def _guarded(pools: PoolClasses, private_hosts: Collection[str] | None) -> PoolClasses:
    """Pools like these, by scheme, whose connections are guarded."""
    guarded = {}
    for scheme, pool in pools.items():
        attributes = {"private_hosts": private_hosts}
        connection = type("GuardedConnection", (_Connection, cast(type, pool.ConnectionCls)), attributes)
        guarded[scheme] = type("GuardedPool", (pool,), {"ConnectionCls": connection})
    return guarded


class Transport(HTTPAdapter):
    """What `requests` sends through."""

    def __init__(self, private_hosts: Collection[str] = ()) -> None:
        """Make a transport with connections of its own.

        Args:
            private_hosts: Names of hosts that may be at any address, such as an API inside the operator's
                network.
        """
        self._private_hosts = frozenset(host.lower() for host in private_hosts)
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        pools = cast(PoolClasses, self.poolmanager.pool_classes_by_scheme)
        self.poolmanager.pool_classes_by_scheme = _guarded(pools, self._private_hosts)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        known = proxy in self.proxy_manager
        manager = super().proxy_manager_for(proxy, **kwargs)
        if not known:
            manager.pool_classes_by_scheme = _guarded(manager.pool_classes_by_scheme, None)
        return manager

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Send a request; see `requests`. Raises BadAddress when its host is not on the public internet."""
        if select_proxy(request.url or "", proxies):
            self._look_at_target(request.url or "")
        return super().send(request, stream, timeout, verify, cert, proxies)

    def _look_at_target(self, url: str) -> None:
        """Refuse a private address before a proxy is asked; what only the proxy can resolve is let pass."""
        host = host_of(url)
        if host in self._private_hosts:
            return
        with suppress(socket.gaierror):
            _refuse_private(host, _resolve(host, 0))


class Session(requests.Session):
    """Sends one request at a time: redirects are not followed, since each hop is the client's to judge."""

    def __init__(self, transport: requests.adapters.BaseAdapter) -> None:
        super().__init__()
        self.mount("https://", transport)
        self.mount("http://", transport)
        self.auth = lambda request: request  # a .netrc must not take the place of a provider's key

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None, so that `requests` follows nothing."""

    def redirect(self, response: requests.Response) -> str | None:
        """Where an answer sends us, if it does. Raises ValueError when that is no address."""
        location = super().get_redirect_target(response)
        return urljoin(response.url, requote_uri(location)) if location else None


def tls_probe(private_hosts: Collection[str] = ()) -> Callable[[str], bool]:
    """The probe whether a host answers https, within two seconds.

    Args:
        private_hosts: Names of hosts that may be at private addresses.

    Returns:
        A function of a host's name that never raises; what cannot be asked does not answer.
    """

    def answers(host: str) -> bool:
        try:
            with deadline(_PROBE), Session(Transport(private_hosts)) as session:
                session.head(f"https://{host}", stream=True, timeout=_PROBE).close()
        except Exception:  # whatever a name from an answer makes the libraries do
            return False
        return True

    return answers


class _WithoutQuery(logging.Filter):
    """Cuts the queries of addresses, in which keys are sent, out of what urllib3 logs."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if "?" in text:
            record.msg, record.args = re.sub(r"\?[^\s\"')]*", "?***", text), ()
        return True


for _name in ("urllib3.connection", "urllib3.connectionpool"):
    logging.getLogger(_name).addFilter(_WithoutQuery())
