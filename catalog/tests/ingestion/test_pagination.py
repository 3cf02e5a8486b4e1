"""Paginators over an API in memory; what ends them."""

import pytest

from catalog.ingestion import Counted, HttpStatus, Tokens
from catalog.tests.providers.fake_api import client

URL = "https://example.org/items"


def walk(pages, api, **params):
    cursor, found = pages.start(params), []
    while cursor is not None:
        page = pages.fetch(api, cursor, {})
        found.append(page.items)
        cursor = page.next
    return found


def numbered(*pages):
    """Page n of the list; past it an empty one."""
    return lambda url, params: {
        "items": pages[int(params["page"]) - 1] if int(params["page"]) <= len(pages) else []
    }


def test_a_page_that_is_not_full_is_the_last():
    api = client(numbered([1, 2], [3]))
    assert walk(Counted(URL, items="items", full=2), api) == [[1, 2], [3]]
    assert len(api._transport.requests) == 2


def test_without_that_the_empty_page_is():
    assert walk(Counted(URL, items="items"), client(numbered([1, 2], [3]))) == [[1, 2], [3], []]


def test_a_page_past_the_end_may_be_an_error():
    def answer(url, params):
        return (
            {"items": [int(params["page"])]}
            if int(params["page"]) < 3
            else (404, {"detail": "Invalid page."})
        )

    assert walk(Counted(URL, items="items", gone=404), client(answer)) == [[1], [2], []]
    with pytest.raises(HttpStatus):
        walk(Counted(URL, items="items"), client(answer))
    with pytest.raises(HttpStatus):  # the first page of all cannot be past the end
        walk(Counted(URL, items="items", gone=404), client(lambda *_: (404, {})))


def test_tokens_are_followed_to_the_answer_without_one():
    answers = {
        "*": {"items": [1], "next": "b"},
        "b": {"items": [2], "next": "c"},
        "c": {"items": [3], "next": None},
    }
    pages = Tokens(URL, items="items", param="cursor", following="next")
    assert walk(pages, client(lambda url, params: answers[params["cursor"]])) == [[1], [2], [3]]
    assert walk(pages, client(lambda url, params: answers[params["cursor"]]), cursor="c") == [[3]]


def test_an_empty_answer_ends_tokens_too():
    assert walk(
        Tokens(URL, items="items", param="t", following="next"),
        client(lambda *_: {"items": [], "next": "again"}),
    ) == [[]]
