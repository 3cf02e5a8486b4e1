"""An API in memory: a function that maps method, URL and parameters to a status and a JSON body."""

from urllib.parse import parse_qsl, urlsplit

import orjson
from requests import Response
from requests.adapters import BaseAdapter

from catalog.ingestion.client import Client
from catalog.ingestion.rate import NoThrottle


class ReadResponse(Response):
    """A response whose body has been read, as those of a replay."""

    def __init__(self, status, body, url):
        super().__init__()
        self.status_code, self.url = status, url
        self._content, self._content_consumed = body, True


class FakeApi(BaseAdapter):
    """answer(url without query, parameters) → body, or (status, body); bytes are a body as it is.

    `requests` holds what was asked.
    """

    def __init__(self, answer):
        super().__init__()
        self.answer, self.requests = answer, []

    def send(self, request, *_, **__):
        parts = urlsplit(request.url)
        url, params = (
            f"{parts.scheme}://{parts.netloc}{parts.path}",
            dict(parse_qsl(parts.query, keep_blank_values=True)),
        )
        self.requests.append((url, params))
        found = self.answer(url, params)
        status, body = found if isinstance(found, tuple) else (200, found)
        response = ReadResponse(status, body if isinstance(body, bytes) else orjson.dumps(body), request.url)
        response.headers["content-type"] = "application/json"
        response.request = request
        return response

    def close(self):
        return


def client(answer, **more):
    return Client(transport=FakeApi(answer), throttle=NoThrottle(), sleep=lambda _: None, **more)


def walk(provider, client, params=None, window=None):
    """All pages of all rounds of a provider: items, as `record` gets them, and the pages."""
    items, pages = [], []
    rounds = provider.rounds(client, window) if params is None else [params]
    for fixed in rounds:
        cursor = provider.pages.start(fixed)
        while cursor is not None:
            sent = {
                k: v for k, v in {**provider.params, **fixed}.items() if k not in provider.pages.own_params
            }
            page = provider.pages.fetch(client, cursor, sent)
            items += provider.complete(page.items, client)
            pages.append(page)
            cursor = page.next
        rounds += page.more_rounds
    return items, pages
