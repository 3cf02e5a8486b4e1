"""HTTP transport for untrusted URLs and untrusted servers.

It adds to `requests` and `http.client`:

- connections only to public IP addresses, which are checked after name resolution and used as checked
  (`addresses`);
- reads that end at the deadline of the response (`deadline`);
- header lines of any length. ccMixter repeats its whole response as the header `X-Json`, far beyond the
  64 KiB that `http.client` accepts. Nobody reads such a header, so the line is truncated.
"""

import http.client
import io
import logging
import re
import socket
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any, BinaryIO, ClassVar, cast
from urllib.parse import urlsplit

import requests
from requests.adapters import DEFAULT_POOLSIZE, HTTPAdapter
from requests.utils import select_proxy
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.connection import allowed_gai_family

from catalog.core.errors import BadAddress, Fatal, PrivateAddress
from catalog.core.secrets import without_queries
from catalog.ingestion.addresses import host_of, is_global
from catalog.ingestion.deadline import TimedReader, within_deadline

KEPT = 1 << 15  # bytes of a header line that are kept; http.client refuses more than 65 536
MAX_LINE = 64 << 20
_HOST = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]+(?:%[a-z0-9._-]+)?", re.IGNORECASE)  # a name, or an IPv6 address

# Reading


class _ShortLines:
    """A file whose lines are truncated; for reading headers."""

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


# Connecting


def _resolve(host: str, port: int) -> list[str]:
    """Resolve a host name. Raises socket.gaierror without an address, ValueError for an invalid name."""
    if not _HOST.fullmatch(host):
        raise ValueError(f"{host!r} is not a host name")
    host.encode("idna")  # labels that are empty or too long
    found = socket.getaddrinfo(host, port, allowed_gai_family(), socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _refuse_private(host: str, addresses: Collection[str]) -> None:
    """Raise BadAddress if one of a host's addresses is not on the public internet."""
    for address in addresses:
        if not is_global(address):
            where = "" if address == host else f" is at {address}, which"
            raise PrivateAddress(f"{host}{where} is not on the public internet")


class _Connection(HTTPConnection):
    """Mixin for urllib3's connections; checks addresses and applies the deadline.

    Attributes:
        private_hosts: Hosts that may have any address; None if the connection is to the operator's proxy.
    """

    response_class = _Response
    private_hosts: ClassVar[Collection[str] | None] = None

    def _new_conn(self) -> socket.socket:
        *others, last = self._addresses(self._dns_host)
        for address in others:
            with suppress(ConnectTimeoutError, NewConnectionError):
                return self._connect(address)
        return self._connect(last)

    def _connect(self, address: str) -> socket.socket:
        """Connect to an address; the certificate and the header `Host` still belong to the name."""
        name, timeout = self._dns_host, self.timeout
        self._dns_host, self.timeout = address, within_deadline(timeout)
        try:
            return super()._new_conn()
        finally:
            self._dns_host, self.timeout = name, timeout

    def _addresses(self, name: str) -> list[str]:
        """Return what to connect to: checked addresses, or the name itself if any address is allowed."""
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
    """Derive pool classes whose connections check addresses; keys are schemes."""
    guarded = {}
    for scheme, pool in pools.items():
        attributes = {"private_hosts": private_hosts}
        connection = type("GuardedConnection", (_Connection, cast(type, pool.ConnectionCls)), attributes)
        guarded[scheme] = type("GuardedPool", (pool,), {"ConnectionCls": connection})
    return guarded


class Transport(HTTPAdapter):
    """The transport adapter for `requests`."""

    def __init__(self, private_hosts: Collection[str] = (), *, kept_hosts: int = DEFAULT_POOLSIZE) -> None:
        """Create a transport with its own connection pools.

        Args:
            private_hosts: Names of hosts that may have any address, such as an API inside the operator's
                network.
            kept_hosts: Hosts, those requested last, to which connections stay open.
        """
        self._private_hosts = frozenset(host.lower() for host in private_hosts)
        super().__init__(pool_connections=kept_hosts)

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
        """Send a request; see `requests`.

        Raises:
            BadAddress: Its host is not on the public internet.
            Fatal: The proxy that the environment names has no address. Errors of libraries would repeat a
                part of its password.
        """
        if proxy := select_proxy(request.url or "", proxies):
            if not host_of(proxy):
                scheme = urlsplit(request.url or "").scheme
                raise Fatal(
                    f"the proxy for {scheme} requests ({scheme}_proxy or all_proxy in the environment) is "
                    "not an address, such as http://user:password@host:3128; encode @, /, : and # of user "
                    "and password as %40, %2F, %3A and %23."
                )
            self._check_target(request.url or "")
        return super().send(request, stream, timeout, verify, cert, proxies)

    def _check_target(self, url: str) -> None:
        """Refuse a private address before using a proxy; a name that only the proxy resolves is allowed."""
        host = host_of(url)
        if host in self._private_hosts:
            return
        with suppress(socket.gaierror):
            _refuse_private(host, _resolve(host, 0))


class BaseUrlTransport(Transport):
    """A transport that sends the requests for one host to another address, such as a test server."""

    def __init__(self, host: str, base_url: str, private_hosts: Collection[str] = ()) -> None:
        """Create the transport.

        Args:
            host: The host whose requests go elsewhere; requests for other hosts are sent as they are.
            base_url: The other address: scheme, host, port, beginning of the path. It may be private.
            private_hosts: See `Transport`.

        Raises:
            BadAddress: `base_url` is not an address.
        """
        if not re.match(r"https?://", base_url) or not host_of(base_url):
            raise BadAddress(f"{base_url!r} is not an address; use one such as http://127.0.0.1:8000.")
        super().__init__([*private_hosts, host_of(base_url)])
        self._host, self._base_url = host, base_url.rstrip("/")
        self.source = self._base_url

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        url = request.url or ""
        if host_of(url) == self._host:
            parts = urlsplit(url)
            request.url = self._base_url + parts.path + (f"?{parts.query}" if parts.query else "")
        return super().send(request, *args, **kwargs)


class _WithoutQuery(logging.Filter):
    """Removes the queries of URLs, which may hold keys, from urllib3's log messages."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if "?" in text:
            record.msg, record.args = without_queries(text), ()
        return True


for _name in ("urllib3.connection", "urllib3.connectionpool"):
    logging.getLogger(_name).addFilter(_WithoutQuery())
