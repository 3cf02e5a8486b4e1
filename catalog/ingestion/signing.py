"""Signs requests so that secrets go only to the provider's own hosts, over https, even after redirects."""

from collections.abc import Collection, Mapping
from urllib.parse import unquote_plus, urlsplit, urlunsplit

from catalog.core.errors import Fatal
from catalog.core.jsontypes import Params
from catalog.core.secrets import Redactor
from catalog.ingestion.addresses import host_of
from catalog.ingestion.credentials import Credentials, Signed


class Signer:
    """Signs the requests of a client and redacts the secrets used.

    Attributes:
        redact: Removes the secrets from text.
    """

    def __init__(self, credentials: Credentials | None, private_hosts: Collection[str]) -> None:
        """Create a signer.

        Args:
            credentials: The credentials; None if the API needs none.
            private_hosts: Names of hosts, in lower case, that may receive secrets over http.
        """
        self._credentials, self._private_hosts = credentials, private_hosts
        self.redact = Redactor(credentials.secrets() if credentials else ())

    def sign(self, url: str, params: Params) -> Signed | None:
        """Sign a request to the API; return None if it goes to a host that must not receive secrets.

        Args:
            url: The URL of the request.
            params: Its query parameters.

        Raises:
            Fatal: The request goes to one of the provider's own hosts, but over http.
        """
        if self._credentials is None or not self._owns(url):
            return None
        self._require_tls(url)
        return self._credentials.sign(url, params)

    def renew(self) -> bool:
        """Renew the credentials after the API refused them; return whether the request may be repeated."""
        if self._credentials is None or not self._credentials.renew():
            return False
        self.redact.add(self._credentials.secrets())
        return True

    def redirected(
        self, target: str, headers: Mapping[str, str], secret_params: Collection[str]
    ) -> tuple[str, Mapping[str, str]]:
        """Return URL and headers of the request that follows a redirect.

        Another host receives neither the secret headers nor query parameters that hold a secret.

        Args:
            target: The target of the redirect.
            headers: The secret headers of the redirected request.
            secret_params: Names of its secret parameters.

        Raises:
            Fatal: A secret would be sent over http, or is in another part of another host's URL.
        """
        bare = self._without_secrets(target, secret_params)
        if not self._owns(target):
            if self.redact(bare) != bare:
                raise Fatal(f"redirected to {target}, which would send a secret to another host")
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
