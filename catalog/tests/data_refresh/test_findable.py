"""Whether the API's search finds the documents of an index, on a real search engine."""

import pytest

from catalog.core.errors import Refused
from catalog.data_refresh.search.bulk import BulkSender, index_action
from catalog.data_refresh.search.customizing import customized
from catalog.data_refresh.search.documents import document
from catalog.data_refresh.search.findable import _sample, refuse_unfindable
from catalog.data_refresh.search.mapping import index_body, index_meta
from catalog.data_refresh.search.tag_policy import DEFAULT, TagFilter
from catalog.database.refusals import accept_all, refuse_all
from catalog.tests.data_refresh.test_documents import BASE

pytestmark = pytest.mark.enable_socket
SEARCH = "elasticsearch_http_production"
NAMES = ("violin", "trumpet", "harpsichord", "clarinet", "theorbo")


def described(search, name, mapping=None, number=40, **changes):
    """Create an index of images with texts of their own, with changes of the mapping."""
    body = index_body("image", index_meta("image", "image_data_refresh", "run", DEFAULT), 1)
    search.create(name, customized(body, {}, mapping or {}))
    tags, actions = TagFilter(DEFAULT), []
    for key in range(number):
        words = f"{NAMES[key % len(NAMES)]} {key:03}"
        texts = {
            "title": f"Titled {words}",
            "meta_data": {"description": f"Described: a {words}"},
            "tags": [{"name": f"tagged {words}", "provider": "smk"}],
        }
        row = BASE._replace(id=key * 1000, **(texts | changes))
        actions.append(index_action(str(key), document("image", row, tags)))
    BulkSender(search, search.require(name).writer).send(actions)
    search.refresh(name)


MUTE = {"index": False}
# Change of the mapping → what is said.
MAPPINGS = {
    "not indexed": ({"title": MUTE, "description": MUTE, "tags": None}, "cannot be asked of image-b: .* 400"),
    "no title": ({"title": None}, "image-b finds 0 of 20 documents by words of their title"),
    "no tags": ({"tags": None}, "image-b finds 0 of 20 documents by words of their tags"),
    "another analyzer": (
        {"description": {"analyzer": "keyword", "fields": None}},
        "image-b finds 0 of 20 documents by words of their description",
    ),
    "no popularity": ({"standardized_popularity": {"type": "keyword"}}, "cannot be asked of image-b: .* 400"),
}


@pytest.mark.parametrize("live", ["image-a", None])
@pytest.mark.parametrize("kind", MAPPINGS)
def test_an_index_in_which_no_search_works(search, kind, live):
    properties, said = MAPPINGS[kind]
    if live:
        described(search, live)
        search.swap_aliases({"image": live})
        said += "" if "400" in said else ", which image-a finds"
    described(search, "image-b", {"properties": properties})
    with pytest.raises(Refused, match=said):
        refuse_unfindable(search, {"image": "image-b"}, refuse_all, SEARCH)
    if "400" in said:
        with pytest.raises(Refused, match=said):  # nobody wants that
            refuse_unfindable(search, {"image": "image-b"}, accept_all, SEARCH)
        return
    for alias, judge in (("image", accept_all), ("image-try", refuse_all)):
        [finding] = refuse_unfindable(search, {alias: "image-b"}, judge, SEARCH)
        assert finding.removesuffix(", which image-a finds") == said.removesuffix(", which image-a finds")


def test_an_alias_is_moved_away_from_one_in_which_no_search_works(search):
    described(search, "image-a", {"properties": {"title": MUTE}})
    search.swap_aliases({"image": "image-a"})
    described(search, "image-b")
    assert refuse_unfindable(search, {"image": "image-b"}, refuse_all, SEARCH) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"title": "和太鼓の演奏", "tags": [{"name": "café crème", "provider": "smk"}]},
        {"title": " ".join(["和太鼓の演奏会" * 5] * 3)},  # a token for each character
        {"title": "Vue de l'exposition, l'université d'Avignon"},
        {"title": "Bibliothe\u0300que sunset.beach@example.com ภาพถ่ายจากพิพิธภัณฑ์"},
        {"title": "the of and", "tags": None, "meta_data": None},  # words that analyzers leave out
        {"title": None, "tags": None, "meta_data": None},
        {"title": 'AND | OR (x*) -y ~2 "quoted', "tags": [{"name": "a-b_c/d", "provider": "smk"}]},
        {"mature": True},
    ],
)
def test_an_index_that_is_right(search, changes):
    described(search, "image-b", **changes)
    assert refuse_unfindable(search, {"image": "image-b"}, refuse_all, SEARCH) == []
    search.swap_aliases({"image": "image-b"})
    described(search, "image-c", {"properties": {"title": {"similarity": "BM25"}}}, **changes)
    assert refuse_unfindable(search, {"image": "image-c"}, refuse_all, SEARCH) == []


def test_documents_of_all_places_are_looked_for(search):
    described(search, "image-b", number=400)
    ids = [int(key) for key in _sample(search, "image-b")]
    assert [sum(low <= key < low + 80 for key in ids) for low in range(0, 400, 80)] == [4] * 5


def test_an_index_that_is_gone(search):
    with pytest.raises(Refused, match="cannot be asked of image-gone"):
        refuse_unfindable(search, {"image": "image-gone"}, refuse_all, SEARCH)


def test_an_index_without_documents(search):
    described(search, "image-b", number=0)
    assert refuse_unfindable(search, {"image": "image-b"}, refuse_all, SEARCH) == []
