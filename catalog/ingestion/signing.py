"""Where secrets may go: to the provider's own hosts, over https, also when a server redirects us."""

from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import unquote_plus, urlsplit, urlunsplit

from catalog.core.errors import Fatal
from catalog.core.secrets import Credentials, Redactor, Signed
from catalog.ingestion.transport import host_of


class Signer:
    """Signs the requests of one client, and hides the secrets that this takes.

    Attributes:
        redact: Takes the secrets out of a text.
    """

    def __init__(self, credentials: Credentials | None, private_hosts: Collection[str]) -> None:
        """Make a signer.

        Args:
            credentials: None signs nothing.
            private_hosts: Names of hosts, in lower case, that may be sent secrets over http.
        """
        self._credentials, self._private_hosts = credentials, private_hosts
        self.redact = Redactor(credentials.secrets() if credentials else ())

    def sign(self, url: str, params: Mapping[str, Any]) -> Signed | None:
        """What a request to the API carries; None when it goes to another host, which gets nothing secret.

        Raises:
            Fatal: It goes to one of the provider's own hosts, but over http.
        """
        if self._credentials is None or not self._owns(url):
            return None
        self._require_tls(url)
        return self._credentials.sign(url, params)

    def renew(self) -> bool:
        """After the API refused the credentials: whether there are others to try now."""
        if self._credentials is None or not self._credentials.renew():
            return False
        self.redact.add(self._credentials.secrets())
        return True

    def redirected(
        self, target: str, headers: Mapping[str, str], secret_params: Collection[str]
    ) -> tuple[str, Mapping[str, str]]:
        """Address and headers of the request that a redirect asks for.

        To another host, headers are not sent, nor are parameters of the query that hold a secret.

        Args:
            target: Where the redirect leads.
            headers: The secret headers of the request that is redirected.
            secret_params: Names of its secret parameters.

        Raises:
            Fatal: A secret would be sent over http, or stands elsewhere in the address of another host.
        """
        bare = self._without_secrets(target, secret_params)
        if not self._owns(target):
            if self.redact(bare) != bare:
                raise Fatal(f"redirected to {target}, which would take a secret to another host")
            return bare, {}
        if headers or bare != target:
            self._require_tls(target)
        return target, headers

    def _owns(self, url: str) -> bool:
        return self._credentials is not None and host_of(url) in self._credentials.hosts

    def _require_tls(self, url: str) -> None:
        if not url.lower().startswith("https:") and host_of(url) not in self._private_hosts:
            raise Fatal(f"{url}: keys are sent over https only; this address, or a redirect to it, is http.")

    def _without_secrets(self, url: str, secret_params: Collection[str]) -> str:
        parts = urlsplit(url)
        pairs = parts.query.split("&")
        kept = [
            pair
            for pair in pairs
            if unquote_plus(pair.partition("=")[0]) not in secret_params and self.redact(pair) == pair
        ]
        return url if kept == pairs else urlunsplit(parts._replace(query="&".join(kept)))
