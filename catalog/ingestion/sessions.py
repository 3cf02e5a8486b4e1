"""Sessions of `requests`, for untrusted URLs and for addresses of the operator; a probe for https."""

import ssl
from collections.abc import Callable, Collection, Iterator
from urllib.parse import urljoin

import requests
from requests.utils import requote_uri

from catalog.ingestion.deadline import deadline
from catalog.ingestion.transport import Transport

_PROBE = 2.0  # seconds
_OUT_OF_DATE = (9, 10)  # OpenSSL's codes of a certificate that is not valid yet, or not any more


class Session(requests.Session):
    """A session that does not follow redirects, because the client checks each one."""

    def __init__(self, transport: requests.adapters.BaseAdapter) -> None:
        super().__init__()
        self.mount("https://", transport)
        self.mount("http://", transport)
        self.auth = lambda request: request  # a .netrc must not replace a provider's key

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return None, so that `requests` follows no redirect."""

    def redirect(self, response: requests.Response) -> str | None:
        """Return the target of a redirect, or None. Raises ValueError for a malformed target."""
        location = super().get_redirect_target(response)
        return urljoin(response.url, requote_uri(location)) if location else None


class KeyedSession(requests.Session):
    """A session with secrets in headers, for an address that the operator has set.

    It follows redirects, but another host receives no secrets. It uses the proxies of the environment, but no
    .netrc file, which would replace the header `Authorization`.
    """

    def __init__(self, secret_headers: Collection[str] = ()) -> None:
        """Create a session.

        Args:
            secret_headers: Names of the headers that hold secrets, beside `Authorization`.
        """
        super().__init__()
        self._secret_headers = ("Authorization", *secret_headers)
        self.auth = lambda request: request

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """Remove the secrets from a redirected request if it goes to another host."""
        before, now = response.request.url, prepared_request.url
        if self.should_strip_auth(before, now):  # type: ignore[no-untyped-call]
            for name in self._secret_headers:
                prepared_request.headers.pop(name, None)


def tls_probe(private_hosts: Collection[str] = ()) -> Callable[[str], bool | None]:
    """Build a probe for https support, with a timeout of two seconds.

    Args:
        private_hosts: Names of hosts that may have private addresses.

    Returns:
        A function that takes a host name and returns whether the host supports https. None: nobody knows,
        because the host, its name or the network is away, or because it may not be asked. It never raises.
    """

    def supports_https(host: str) -> bool | None:
        try:
            with deadline(_PROBE), Session(Transport(private_hosts)) as session:
                session.head(f"https://{host}", stream=True, timeout=_PROBE).close()
        except Exception as error:  # untrusted names may cause any error in the libraries
            return False if _proves_no_tls(error) else None
        return True

    return supports_https


def _proves_no_tls(error: Exception) -> bool:
    """Return whether a host itself has said that it does not support https.

    It refuses connections, speaks another protocol there, or has a certificate that does not fit. A proxy's
    refusal says nothing about the host, and a certificate that is out of date is soon replaced.
    """
    if isinstance(error, requests.exceptions.ProxyError):
        return False
    for cause in causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return cause.verify_code not in _OUT_OF_DATE
        # Its other subclasses are about connections that were closed.
        if isinstance(cause, ConnectionRefusedError) or type(cause) is ssl.SSLError:
            return True
    return False


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those inside it, wherever the libraries keep them."""
    waiting, seen = [error], set[int]()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        inner = (getattr(one, "reason", None), one.__cause__, one.__context__, *one.args)
        waiting += [e for e in inner if isinstance(e, BaseException)]
