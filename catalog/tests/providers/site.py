"""Sites in memory that answer as over the wire (bytes, headers, redirects, HEAD), and pulls of them."""

from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlsplit

import orjson
from requests.structures import CaseInsensitiveDict
from upath import UPath

from catalog.core.errors import NotWhole
from catalog.ingestion.client import Client
from catalog.ingestion.parts import Parts
from catalog.ingestion.pull import Pull
from catalog.ingestion.rate import NoThrottle
from catalog.scaffold.rows import read_rows
from catalog.tests.providers.fake_api import FakeApi, ReadResponse
from catalog.tests.values import present


class Reply:
    """What a site answers: a body of JSON or of bytes, a status, headers."""

    def __init__(self, body=b"", status=200, **headers):
        self.body = body if isinstance(body, bytes) else orjson.dumps(body)
        self.status = status
        self.headers = CaseInsensitiveDict({name.replace("_", "-"): str(h) for name, h in headers.items()})


class Site(FakeApi):
    """answer(method, url without query, parameters) → a `Reply`, a JSON body, or (status, body).

    `asked` holds method, address, parameters and headers of what was asked.
    """

    def __init__(self, answer):
        super().__init__(answer)
        self.asked = []

    def send(self, request, *_, **__):
        parts = urlsplit(request.url)
        url = f"{parts.scheme}://{parts.netloc}{parts.path}"
        params = dict(parse_qsl(parts.query, keep_blank_values=True))
        self.asked.append((request.method, url, params, dict(request.headers)))
        found = self.answer(request.method, url, params)
        if isinstance(found, Exception):
            raise found
        if not isinstance(found, Reply):
            found = Reply(found[1], found[0]) if isinstance(found, tuple) else Reply(found)
        response = ReadResponse(found.status, found.body, request.url)
        response.headers, response.request = found.headers, request
        return response

    def urls(self, method="GET"):
        return [url for asked, url, _, _ in self.asked if asked == method]


def client_of(site, provider=None, **more):
    """A client that asks a site, as it would be made for a provider."""
    headers = provider.headers if provider else {}
    return Client(transport=site, throttle=NoThrottle(), sleep=lambda _: None, headers=headers, **more)


class Pulled:
    """A pull that came to its end: its manifest, rows, and the error if it is not whole."""

    def __init__(self, provider, site, folder, **more):
        parts = Parts(UPath(folder), provider.name, datetime(2024, 2, 10, tzinfo=UTC), None)
        client = client_of(site, provider, retries=provider.retries)
        self.error = None
        try:
            Pull(provider, client, parts, run_id="test", **more).run()
        except NotWhole as error:
            self.error = str(error)
        self.manifest = present(parts.load())
        self.rows = read_rows(parts, self.manifest)
        self.media_type = provider.media_types[0]

    @property
    def counts(self):
        """Of the provider's first media type, of which something came."""
        return self.manifest.counts[self.media_type]

    @property
    def whole(self):
        return self.manifest.complete and self.manifest.whole and self.error is None

    def ids(self):
        return [row["foreign_identifier"] for row in self.rows]
