"""An OAuth2 provider for tests: Authlib's authorization server, and an API that requires its tokens."""

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from authlib.oauth2.rfc6749 import AuthorizationServer, ClientMixin, OAuth2Request, grants
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
from authlib.oauth2.rfc6750 import BearerTokenGenerator
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from catalog.ingestion.oauth2 import OAuth2


class Registered(ClientMixin):
    """The only registered application."""

    client_id, secret = "made-up-client", "made-up secret/&1"

    def get_client_id(self):
        return self.client_id

    def check_client_secret(self, client_secret):
        return client_secret == self.secret

    def check_endpoint_auth_method(self, method, endpoint):
        return method == "client_secret_post"

    def check_grant_type(self, grant_type):
        return grant_type in ("authorization_code", "refresh_token")

    def get_allowed_scope(self, scope):
        return scope or ""


class Code:
    """An authorization code, valid for one exchange."""

    def get_redirect_uri(self):
        return None

    def get_scope(self):
        return ""


class Token:
    def __init__(self, refresh_token):
        self.refresh_token = refresh_token

    def get_scope(self):
        return ""

    def check_client(self, client):
        return True


class TokenRequest(OAuth2Request):
    """A request for tokens; Authlib demands HTTPS, so its address says that it came so."""

    def __init__(self, request: Request) -> None:
        address = request.url.replace("http:", "https:")
        super().__init__(request.method, address, headers=dict(request.headers))
        self._fields = request.form.to_dict()
        self.payload = BasicOAuth2Payload(self._fields)

    @property
    def form(self) -> dict[str, str]:
        return self._fields

    @property
    def args(self) -> dict[str, str | None]:
        return {}


class Provider(AuthorizationServer):
    """The provider's state.

    Attributes:
        codes: Authorization codes that are valid now.
        access: Access tokens that are valid now.
        refresh: Refresh tokens that are valid now, each for one exchange.
        requests: Fields of each request for tokens.
    """

    def __init__(self) -> None:
        super().__init__()
        self.codes: set[str] = set()
        self.access: set[str] = set()
        self.refresh: set[str] = set()
        self.requests: list[dict[str, str]] = []
        self.register_token_generator("default", BearerTokenGenerator(_token("access"), _token("refresh")))
        provider = self

        class CodeGrant(grants.AuthorizationCodeGrant):
            TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_post",)

            def query_authorization_code(self, code, client):
                self.code = code
                return Code() if code in provider.codes else None

            def delete_authorization_code(self, authorization_code):
                provider.codes.discard(self.code)

            def authenticate_user(self, authorization_code):
                return "mia"

        class RefreshGrant(grants.RefreshTokenGrant):
            INCLUDE_NEW_REFRESH_TOKEN = True
            TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_post",)

            def authenticate_refresh_token(self, refresh_token):
                return Token(refresh_token) if refresh_token in provider.refresh else None

            def authenticate_user(self, credential):
                return "mia"

            def revoke_old_credential(self, credential):
                provider.refresh.discard(credential.refresh_token)

        self.register_grant(CodeGrant)
        self.register_grant(RefreshGrant)

    def query_client(self, client_id):
        return Registered() if client_id == Registered.client_id else None

    def save_token(self, token, request):
        self.access.add(token["access_token"])
        self.refresh.add(token["refresh_token"])

    def create_oauth2_request(self, request):
        found = TokenRequest(request)
        self.requests.append(found.form)
        return found

    def handle_response(self, status, body, headers):
        return status, json.dumps(body) if isinstance(body, dict) else body, headers

    def send_signal(self, name, *args, **kwargs):
        return

    def expire(self) -> None:
        """Invalidate all access tokens."""
        self.access.clear()

    def token(self, request: Request) -> Response:
        """Respond to a request for tokens."""
        status, body, headers = self.create_token_response(request)
        return Response(body, status=status, headers=headers)

    def api(self, request: Request) -> Response:
        """Respond as an API that requires a valid access token."""
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in self.access:
            return Response('{"detail": "Invalid token"}', status=401, content_type="application/json")
        return Response(json.dumps({"page": request.args.get("page")}), content_type="application/json")


def _token(kind):
    return lambda **_: f"canary-{kind}-{secrets.token_urlsafe(9)}/&="


@contextmanager
def oauth2_provider() -> Iterator[tuple[Provider, OAuth2, str]]:
    """Run a provider; yield it, its definition and the address of its API."""
    provider = Provider()
    with HTTPServer() as server:
        server.expect_request("/token").respond_with_handler(provider.token)
        server.expect_request("/api").respond_with_handler(provider.api)
        yield provider, OAuth2(server.url_for("/authorize"), server.url_for("/token")), server.url_for("/api")
