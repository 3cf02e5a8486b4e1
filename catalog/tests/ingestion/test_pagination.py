"""Paginators over an API in memory; what ends them."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog import provider_api
from catalog.core.errors import UnexpectedResponse
from catalog.core.jsontypes import JsonObject
from catalog.core.secrets import Secret
from catalog.ingestion.credentials import ApiKey, KeyCredentials
from catalog.ingestion.rate import NoThrottle
from catalog.ingestion.responses import count_at, dotted, items_at, lists_in, steps
from catalog.provider_api import Client, Counted, Cursor, HttpStatus, Links, Tokens, request_count
from catalog.tests.providers import site
from catalog.tests.providers.fake_api import FakeApi, client
from catalog.tests.values import present

URL = "https://example.org/items"


@given(keys=st.lists(st.text(st.sampled_from("ab.\\\n")), min_size=1))
def test_a_path_names_any_keys(keys):
    if keys != [""]:  # the path of the body itself
        assert steps(dotted(*keys)) == keys


def test_a_list_that_no_path_names_is_not_taken_for_the_body():
    assert lists_in({"": [1], "a": {"": [2]}, "a.b": [3]}) == ["a.", r"a\.b"]


def test_keys_with_dots_are_read():
    """As in OData."""

    def answer(url, params):
        if params:
            return {"value.all": [2], "@odata.count": 2}
        return {"value.all": [1], "@odata.count": 2, "@odata.nextLink": f"{URL}?page=2"}

    pages = Links(URL, items=r"value\.all", total=r"@odata\.count", following=r"@odata\.nextLink")
    assert walk(pages, client(answer)) == [[1], [2]]
    with pytest.raises(UnexpectedResponse, match=re.escape(r"`value` is missing;")) as raised:
        items_at(answer(URL, {}), "value")
    assert str(raised.value).endswith(r"lists: `value\.all`")


def test_a_response_without_a_count_is_requested_again():
    answers = iter([{"total": None}, {"total": "1,204"}])
    assert request_count(client(lambda url, params: next(answers)), URL, {}, "total") == 1204


@pytest.mark.parametrize(("said", "counted"), [([0, 7], 7), ([0, 0], 0), ([7], 7)])
def test_a_count_of_nothing_is_requested_again(said, counted):
    answers = iter([{"total": number} for number in said])
    assert request_count(client(lambda url, params: next(answers)), URL, {}, "total") == counted
    assert next(answers, None) is None


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


def test_pages_end_at_an_empty_one_and_the_one_after_it_is_asked_for():
    """Pages may follow one that is not full; without a total, one empty page does not prove the end."""
    api = client(numbered([1, 2], [3]))
    assert walk(Counted(URL, items="items"), api) == [[1, 2], [3], []]
    assert [params["page"] for _, params in api._sender.transport.requests] == ["1", "2", "3", "4"]


def test_an_empty_page_with_others_behind_it_is_an_error():
    with pytest.raises(UnexpectedResponse, match="page 2 is empty, but page 3 is not"):
        walk(Counted(URL, items="items"), client(numbered([1], [], [3])))


@pytest.mark.parametrize("status", [400, 404, 416])
def test_past_the_end_an_error_proves_it(status):
    def answer(url, params):
        number = int(params["page"])
        return {"items": [1]} if number == 1 else {"items": []} if number == 2 else (status, {})

    assert walk(Counted(URL, items="items"), client(answer)) == [[1], []]


def test_an_announced_total_needs_no_such_request():
    api = client(lambda url, params: {"items": [1] if params["page"] == "1" else [], "total": "1"})
    assert walk(Counted(URL, items="items", total="total"), api) == [[1], []]
    assert len(api._sender.transport.requests) == 2


def listed(total, cap):
    """An API of offsets that gives out at most `cap` items, whatever is asked for."""
    return lambda url, params: {"items": list(range(total))[int(params["offset"]) :][:cap]}


@pytest.mark.parametrize("cap", [100, 99, 50, 7, 1])
def test_offsets_grow_by_what_came(cap):
    pages = Counted(URL, items="items", param="offset", first=0, step=100)
    found = walk(pages, client(listed(150, cap)))
    assert [item for page in found for item in page] == list(range(150))


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({}, "`items` is missing; the response is an empty object"),
        ({"message": "moved"}, "`items` is missing; the response has `message`, message: 'moved'"),
        ({"results": [1]}, "`items` is missing; the response has `results`"),
        ({"items": None, "total": 5}, "`items` is null, not a list; the response has `items`, `total`"),
        ({"items": {"1": 1}}, "`items` is of type dict, not a list"),
        ([], "the response is a list of 0"),
        (None, "the response is null"),
        ({"items": [1]}, "`total` is missing; the response has `items`"),
        ({"items": [1], "total": None}, "`total` should be a number of items but is null"),
        ({"items": [1], "total": -1}, "`total` should be a number of items but is -1"),
        ({"items": [1, 2], "total": 1}, "`total` is 1, but the response lists 2 items"),
        ({"items": [1], "total": True}, "`total` should be a number of items but is of type bool"),
    ],
)
@pytest.mark.parametrize("kind", [Counted, Tokens, Links])
def test_what_an_answer_lacks_is_an_error(kind, body, text):
    more = {"param": "t", "following": "next"} if kind is Tokens else {}
    api = client(lambda *_: body, retries=1)
    with pytest.raises(UnexpectedResponse) as raised:
        walk(kind(URL, items="items", total="total", **more), api)
    assert text in str(raised.value)
    assert len(api._sender.transport.requests) == 2  # it was asked again


def test_a_total_with_thousands_separators_is_read_and_an_ambiguous_one_is_an_error():
    def pages(total):
        body = {"items": [1], "total": total}
        return Tokens(URL, items="items", param="t", following="n", total="total").fetch(
            client(lambda *_: body, retries=0), {"t": None}, {}
        )

    for total in ("1,204", "1204", 1204):
        assert pages(total).total == 1204
    assert pages("1,234,567").total == 1_234_567
    for total in ("1.204", "1 204", "1,5", "12,04", "1,204.5"):
        with pytest.raises(UnexpectedResponse, match="should be a number of items"):
            pages(total)


def test_two_values_of_a_header_are_no_thousands():
    """A proxy may join the same header twice by a comma."""
    pages = Counted(URL, items="", total_header="X-Total")
    site_ = site.Site(lambda *_: site.Reply([], x_total="240,240"))
    assert pages.fetch(site.client_of(site_), {"page": 1}, {}).total is None


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a.b.total", "`a.b.total` is missing: `a.b` has `pages`; the response has `a`"),
        ("a.c.total", "`a.c.total` is missing: `a` has `b`, `n`; the response has `a`"),
        ("a.n.total", "`a.n.total` is missing: `a.n` is of type int; the response has `a`"),
        ("x.total", "`x.total` is missing; the response has `a`"),
        ("a.b.pages", "`a.b.pages` should be a number of items but is null; the response has `a`"),
    ],
)
def test_what_is_missing_is_named_with_the_keys_that_are_there(path, text):
    with pytest.raises(UnexpectedResponse) as raised:
        count_at({"a": {"b": {"pages": None}, "n": 1}}, path)
    assert str(raised.value) == text


def test_a_total_that_may_be_left_out():
    pages = Counted(URL, items="items", total="total", announces="sometimes")
    assert walk(pages, client(numbered([1]))) == [[1], []]


def test_the_flag_of_a_following_page():
    def api(*answers):
        return client(lambda url, params: answers[int(params["page"]) - 1], retries=0)

    pages = Counted(URL, items="items", more="next")
    last: JsonObject = {"items": [3], "next": None}
    behind: JsonObject = {"items": [], "next": None}
    assert walk(pages, api({"items": [1], "next": 2}, {"items": [], "next": 3}, last, behind)) == [
        [1],
        [],
        [3],
    ]
    with pytest.raises(UnexpectedResponse, match="`next`, which says whether a page follows, is missing"):
        walk(pages, api({"items": [1]}))
    with pytest.raises(
        UnexpectedResponse, match="page 2, which the page before named as the next one, is empty"
    ):
        walk(pages, api({"items": [1], "next": 2}, {"items": [], "next": None}))


@pytest.mark.parametrize(("step", "first"), [(1, 1), (10, 0)])
def test_a_flag_that_denies_the_pages_behind_it_is_an_error(step, first):
    """Page 2 of 4 says that it is the last, once; the next attempt reads the pages behind it."""
    lies = [2]

    def answer(url, params):
        number = (int(params["page"]) - first) // step + 1
        follows = number < 4 and number not in lies
        if number in lies:
            lies.remove(number)
        return {"items": [[number, n] for n in range(step)] if number <= 4 else [], "next": follows}

    pages, api = Counted(URL, items="items", more="next", step=step, first=first), client(answer)
    with pytest.raises(
        UnexpectedResponse, match=rf"the last \(`next`\), but page {first + 2 * step} is not$"
    ):
        walk(pages, api)
    assert len(walk(pages, api)) == 4


@pytest.mark.parametrize(
    "behind",
    [{"items": [], "next": False}, {"items": [2], "next": False}, (404, {}), {"message": "no such page"}],
    ids=["empty", "the last page again", "404", "no list"],
)
def test_a_flag_that_is_right(behind):
    def answer(url, params):
        number = int(params["page"])
        return {"items": [number], "next": number < 2} if number <= 2 else behind

    api = client(answer, retries=0)
    assert walk(Counted(URL, items="items", more="next"), api) == [[1], [2]]
    assert [params["page"] for _, params in api._sender.transport.requests] == ["1", "2", "3"]


def test_a_flag_with_a_total_needs_no_further_request():
    api = client(lambda url, params: {"items": [1], "next": False, "total": 1})
    assert walk(Counted(URL, items="items", more="next", total="total"), api) == [[1]]
    assert len(api._sender.transport.requests) == 1


def test_a_list_that_is_left_out_past_the_end():
    def answer(url, params):
        return {"total": 1, "items": [1]} if params["page"] == "1" else {"total": 1}

    pages = Counted(URL, items="items", total="total", omits_empty=True)
    assert walk(pages, client(answer)) == [[1], []]
    with pytest.raises(UnexpectedResponse):
        walk(pages, client(lambda *_: {"message": "busy"}, retries=0))


def test_a_page_past_the_end_may_be_an_error():
    def answer(url, params):
        return (
            {"items": [int(params["page"])]}
            if int(params["page"]) < 3
            else (404, {"detail": "Invalid page."})
        )

    assert walk(Counted(URL, items="items", past_end_status=404), client(answer)) == [[1], [2], []]
    with pytest.raises(HttpStatus):
        walk(Counted(URL, items="items"), client(answer))
    with pytest.raises(HttpStatus):  # the first page of all cannot be past the end
        walk(Counted(URL, items="items", past_end_status=404), client(lambda *_: (404, {})))


def test_tokens_are_followed_to_the_answer_without_one():
    answers = {
        "*": {"items": [1], "next": "b"},
        "b": {"items": [2], "next": "c"},
        "c": {"items": [3], "next": None},
    }
    pages = Tokens(URL, items="items", param="cursor", following="next", first="*")
    assert walk(pages, client(lambda url, params: answers[params["cursor"]])) == [[1], [2], [3]]
    assert walk(pages, client(lambda url, params: answers[params["cursor"]]), cursor="c") == [[3]]


def test_an_empty_page_with_a_token_goes_on():
    answers = {"*": {"items": [], "next": "b"}, "b": {"items": [2]}}
    pages = Tokens(URL, items="items", param="cursor", following="next", first="*")
    assert walk(pages, client(lambda url, params: answers[params["cursor"]])) == [[], [2]]


@pytest.mark.parametrize("kind", ["token", "link"])
@pytest.mark.parametrize(
    ("total", "again", "asked", "reported"),
    [(None, [], 2, True), (None, [1], 2, False), ("total", [], 1, False)],
)
def test_an_empty_page_that_names_a_next_one_is_reported_without_a_total(kind, total, again, asked, reported):
    """After it was requested again; a total tells whether its items are missing."""
    answers = [{"items": none_or_one, "total": 3, "next": "b"} for none_or_one in (list[int](), again)]
    api = client(lambda *_: answers.pop(0))
    pages = (
        Tokens(URL, items="items", param="cursor", following="next", total=total)
        if kind == "token"
        else Links(URL, items="items", following="next", total=total)
    )
    page = pages.fetch(api, pages.start({}), {})
    assert page.items == ([] if total else again)
    assert page.next
    assert (page.withheld is not None, 2 - len(answers)) == (reported, asked)


def test_a_token_that_names_its_own_page_ends():
    """As Solr's cursors do: the mark stays the same at the end."""
    answers = {"*": {"items": [1], "next": "b"}, "b": {"items": [], "next": "b"}}
    pages = Tokens(URL, items="items", param="cursor", following="next", first="*")
    assert walk(pages, client(lambda url, params: answers[params["cursor"]])) == [[1], []]


@pytest.mark.parametrize("total", [None, "total"])
@pytest.mark.parametrize("kind", ["token", "link"])
def test_a_next_page_that_is_not_named_once(kind, total):
    """Without a total, the response is requested again; a total alone shows that items are missing."""
    asked: list[str] = []

    def answer(url, params):
        number = int(params.get("page", 1))
        lie = number == 2 and "2" not in asked
        asked.append(f"{number}")
        named = (
            {} if lie or number == 3 else {"next": number + 1 if kind == "token" else f"?page={number + 1}"}
        )
        return {"items": [number], "total": 3, **named}

    pages = (
        Tokens(URL, items="items", param="page", following="next", total=total)
        if kind == "token"
        else Links(URL, items="items", following="next", total=total)
    )
    assert walk(pages, client(answer)) == ([[1], [2]] if total else [[1], [2], [3]])
    assert asked == (["1", "2"] if total else ["1", "2", "2", "3", "3"])


@pytest.mark.parametrize(
    ("first", "again", "found"),
    [
        ([1, 2, 3], [2], [2, 1, 3]),  # one of several servers lags behind
        ([1, 2], [], [1, 2]),  # a token that was used up
        ([1], [1, 2], [1, 2]),
    ],
)
@pytest.mark.parametrize("kind", ["token", "link"])
def test_what_came_once_is_not_lost_by_asking_again(kind, first, again, found):
    bodies = [{"items": first}, {"items": again, "next": "b"}, {"items": ["b"]}, {"items": []}]
    answers = iter(bodies)
    pages = (
        Tokens(URL, items="items", param="cursor", following="next", first="*")
        if kind == "token"
        else Links(URL, items="items", following="next")
    )
    assert walk(pages, client(lambda *_: next(answers))) == [found, ["b"]]


@pytest.mark.parametrize("status", [400, 404])
def test_a_token_that_can_be_used_once(status):
    used: list[str] = []

    def answer(url, params):
        if params["cursor"] in used:
            return (status, {"detail": "expired"})
        used.append(params["cursor"])
        return {"items": [1]}

    pages = Tokens(URL, items="items", param="cursor", following="next", first="*")
    assert walk(pages, client(answer)) == [[1]]


def test_a_token_may_be_missing_in_the_first_request():
    answers = {None: {"items": [1], "next": 7}, "7": {"items": [2]}}
    api = client(lambda url, params: answers[params.get("cursor")])
    assert walk(Tokens(URL, items="items", param="cursor", following="next"), api) == [[1], [2]]


def test_the_paginator_of_the_guide_walks():
    """What it imports is in `provider_api`, and it is refused nothing."""
    guide = (Path(__file__).parents[3] / "docs/adding_a_provider.md").read_text(encoding="utf-8")
    code = guide.partition("### A paginator of your own")[2].partition("```python\n")[2].partition("```")[0]
    space = {name: getattr(provider_api, name) for name in provider_api.__all__}
    exec(compile(code, "guide", "exec"), space)
    following = {"2005-01-01": "2014-05-06", "2014-05-06": "2024-02-10"}

    def answer(method, url, params):
        after = following.get(params["since"])
        return site.Reply({"pictures": [params["since"]]}, **({"x_next_since": after} if after else {}))

    assert walk(space["Since"](), site.client_of(site.Site(answer))) == [
        ["2005-01-01"],
        ["2014-05-06"],
        ["2024-02-10"],
    ]


@pytest.mark.parametrize("where", [{}, {"following": "next", "following_header": "X-Next"}])
def test_a_token_is_in_the_body_or_in_a_header(where):
    with pytest.raises(ValueError, match="give either `following` or `following_header`"):
        Tokens(URL, items="items", param="cursor", **where)


def test_a_number_of_pages_in_the_body_ends_the_pages():
    api = client(lambda url, params: {"items": [int(params["page"])], "meta": {"pages": "3"}})
    assert walk(Counted(URL, items="items", pages="meta.pages"), api) == [[1], [2], [3]]
    api = client(lambda url, params: {"items": [int(params["page"])], "meta": {"pages": 2}})
    assert walk(Counted(URL, items="items", first=0, pages="meta.pages"), api) == [[0], [1]]
    api = client(lambda url, params: {"items": [], "meta": {"pages": 0}})
    assert walk(Counted(URL, items="items", pages="meta.pages"), api) == [[]]


@pytest.mark.parametrize(
    ("second", "problem"),
    [
        ({"items": [], "pages": 3}, "page 2 is empty, but `pages` announces more pages"),
        ({"items": [2]}, "`pages` is missing; the response has `items`"),
        ({"items": [2], "pages": "many"}, "`pages` should be a number of items"),
    ],
)
def test_an_announced_page_that_is_empty_or_a_lost_number_is_an_error(second, problem):
    api = client(
        lambda url, params: {"items": [1], "pages": 3} if params["page"] == "1" else second, retries=0
    )
    with pytest.raises(UnexpectedResponse, match=problem):
        walk(Counted(URL, items="items", pages="pages"), api)


def test_pages_are_not_counted_by_an_offset():
    with pytest.raises(ValueError, match="`pages` counts pages, but `step` says that `param` is an offset"):
        Counted(URL, items="items", step=10, pages="pages")


@pytest.mark.parametrize("kind", [Counted, Tokens, Links])
def test_values_beside_the_items(kind):
    more = {"param": "t", "following": "next"} if kind is Tokens else {}
    pages = kind(URL, items="items", beside={"iiif": "config.iiif"}, **more)
    body = {"items": [{"id": 1}, None], "config": {"iiif": "https://iiif.example.org"}}
    page = pages.fetch(client(lambda *_: body), pages.start({}), {})
    assert page.items == [{"id": 1, "iiif": "https://iiif.example.org"}, None]
    with pytest.raises(UnexpectedResponse, match=r"`config.iiif`, a value beside the items, is missing"):
        pages.fetch(client(lambda *_: {"items": []}, retries=0), pages.start({}), {})


def linked(url, params):
    """Three pages; each holds the address of the next one, with the parameters of the first request."""
    number = int(params.get("page", 1))
    link = f"http://example.org/items?q=x&page={number + 1}"
    return {"items": [number], "total": 3, "next": link if number < 3 else None}


def test_links_are_followed_with_the_parameters_that_they_hold():
    pages = Links(URL, items="items", following="next", total="total")
    api, found = client(linked), []
    cursor: Cursor | None = pages.start({})
    while cursor is not None:
        page = pages.fetch(api, cursor, {"q": "x", "per_page": 1})
        found.append((page.items, page.total))
        cursor = page.next
    assert found == [([1], 3), ([2], 3), ([3], 3)]
    assert [params for _, params in api._sender.transport.requests] == [
        {"q": "x", "per_page": "1"},
        {"q": "x", "page": "2"},
        {"q": "x", "page": "3"},
    ]
    assert all(url == URL for url, _ in api._sender.transport.requests), (
        "over https, although the links are not"
    )
    assert walk(pages, client(linked), link=f"{URL}?page=3") == [[3]]


@pytest.mark.parametrize("link", [None, "", URL])
def test_a_missing_link_or_one_to_the_same_page_ends(link):
    assert walk(
        Links(URL, items="items", following="next"), client(lambda *_: {"items": [1], "next": link})
    ) == [[1]]


@pytest.mark.parametrize(
    "link", ["https://elsewhere.org/items?page=2", 5, {"href": 1}, "https://example.org.evil.net/"]
)
def test_a_link_to_another_host_is_an_error(link):
    api = client(lambda *_: {"items": [1], "next": link}, retries=0)
    with pytest.raises(UnexpectedResponse, match=r"the next page's address is not one of example\.org"):
        walk(Links(URL, items="items", following="next"), api)


def test_a_link_in_the_header():
    site = Site([[1]], link=f'<{URL}?page=1&x=2>; rel="next", <{URL}?page=9>; rel="last"')
    api = Client(transport=site, throttle=NoThrottle(), sleep=lambda _: None)
    pages = Links(URL, items="")
    site.answer = lambda url, params: [1]
    assert pages.fetch(api, pages.start({}), {}).next == {"link": f"{URL}?page=1&x=2"}


def test_no_key_is_stored_with_a_link():
    """The cursor is logged and stored in Airflow's database; the client signs the next request again."""
    key = KeyCredentials(
        ApiKey("API_KEY_X", "key", "https://example.org"), Secret("hunter2"), ("example.org",)
    )
    asked = []

    def answer(url, params):
        asked.append(params)
        follows = {"next": f"{URL}?page=2&key=hunter2"} if len(asked) == 1 else {}
        return {"items": [len(asked)], **follows}

    pages, api = Links(URL, items="items", following="next"), client(answer, credentials=key)
    page = pages.fetch(api, pages.start({}), {})
    assert page.next == {"link": f"{URL}?page=2"}
    pages.fetch(api, present(page.next), {})
    assert asked == [{"key": "hunter2"}, *2 * [{"page": "2", "key": "hunter2"}]]


class Site(FakeApi):
    """Pages in a body, their number and the total in headers."""

    def __init__(self, pages, **headers):
        super().__init__(lambda url, params: pages[int(params["page"]) - 1] if "page" in params else [])
        self.headers = headers

    def send(self, request, *args, **more):
        response = super().send(request, *args, **more)
        response.headers.update({name.replace("_", "-"): value for name, value in self.headers.items()})
        return response


def test_numbers_in_headers():
    pages = Counted(URL, items="", pages_header="x-pages", total_header="x-total")
    site = Site([[1, 2], [3]], x_pages="2", x_total="3")
    api = Client(transport=site, throttle=NoThrottle(), sleep=lambda _: None)
    first = pages.fetch(api, pages.start({}), {})
    assert (first.items, first.total, first.next) == ([1, 2], 3, {"page": 2, "last": 2, "total": 3})
    second = pages.fetch(api, present(first.next), {})
    assert (second.items, second.total, second.next) == ([3], 3, None)


@pytest.mark.parametrize("headers", [{}, {"x_pages": "many"}, {"x_pages": "-1"}, {"x_pages": ""}])
def test_a_missing_number_of_pages_is_a_fault(headers):
    pages = Counted(URL, items="", pages_header="x-pages")
    api = Client(transport=Site([[1]], **headers), throttle=NoThrottle(), sleep=lambda _: None)
    with pytest.raises(UnexpectedResponse, match="the header x-pages is missing or not a number"):
        pages.fetch(api, pages.start({}), {})


def test_a_page_that_is_empty_although_more_are_announced():
    pages = Counted(URL, items="", pages_header="x-pages")
    api = Client(
        transport=Site([[1], [], [3]], x_pages="3"), throttle=NoThrottle(), sleep=lambda _: None, retries=0
    )
    with pytest.raises(UnexpectedResponse, match="page 2 is empty, but more pages were announced"):
        walk(pages, api)


def test_a_total_in_the_headers_of_a_page():
    pages = Counted(URL, items="", total_header="total-results")
    api = Client(transport=Site([[1], []], total_results="7"), throttle=NoThrottle(), sleep=lambda _: None)
    assert pages.fetch(api, pages.start({}), {}).total == 7


def test_parameters_of_the_body_are_posted():
    api = client(lambda url, params: {"hits": [1, 2] if params["from"] == "0" else [], "total": 2})
    sent = []
    answered = api._sender.transport.send

    def send(request, *args, **more):
        sent.append((request.method, request.body))
        return answered(request)

    api._sender.transport.send = send
    pages = Counted(URL, items="hits", total="total", param="from", first=0, step=2, body=["query"])
    page = pages.fetch(api, pages.start({}), {"query": {"term": {"a": 1}}, "size": 2})
    assert (page.items, page.total) == ([1, 2], 2)
    assert sent == [("POST", b'{"query": {"term": {"a": 1}}}')]
    assert api._sender.transport.requests == [(URL, {"size": "2", "from": "0"})]


@pytest.mark.parametrize("announced", [6, 7, 100])
def test_nothing_is_asked_for_beyond_what_an_api_shows(announced):
    def answer(url, params):
        at = int(params["offset"])
        assert at + 3 <= 6, "the API refuses this"
        return {"items": list(range(at, min(at + 3, announced))), "total": announced}

    pages = Counted(URL, items="items", total="total", param="offset", first=0, step=3, most=6)
    assert walk(pages, client(answer)) == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("more", [{"total": "total"}, {"step": 3}])
def test_what_an_api_shows_needs_offsets_and_a_total(more):
    with pytest.raises(ValueError, match="`most` needs offsets"):
        Counted(URL, items="items", most=6, **more)
