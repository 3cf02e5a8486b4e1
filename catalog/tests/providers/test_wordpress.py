"""WordPress: how many pages there are, what the pages are, photos that come and go meanwhile."""

import orjson
import pytest

from catalog.core.errors import Retry
from catalog.providers.wordpress.provider import WordPress
from catalog.tests.providers.site import Pulled, Reply, Site
from catalog.tests.values import present

PHOTOS = "https://wordpress.org/photos/wp-json/wp/v2/photos"
PAGE = 2


def photo(n):
    sizes = {"large": {"source_url": f"https://pd.w.org/{n}.jpg", "filesize": 5}}
    return {
        "slug": f"s{n}",
        "link": f"https://wordpress.org/photos/photo/s{n}/",
        "_embedded": {"wp:featuredmedia": [{"media_details": {"sizes": sizes}}]},
    }


class Directory:
    """Photos by their number; a page past the last is an error. between: called before each page."""

    def __init__(self, numbers, between=lambda numbers, page: None, **headers):
        self.numbers, self.between, self.headers = list(numbers), between, headers
        self.site = Site(self.answer)

    def answer(self, method, url, params):
        assert url == PHOTOS
        assert "format" not in params
        assert (params["orderby"], params["order"]) == ("id", "asc")
        if method == "HEAD":
            pages = -(-len(self.numbers) // PAGE)
            return Reply(**{"x_wp_total": len(self.numbers), "x_wp_totalpages": pages, **self.headers})
        page = int(params["page"])
        self.between(self.numbers, page)
        listed = sorted(self.numbers)[(page - 1) * PAGE : page * PAGE]
        return [photo(n) for n in listed] if listed else (400, {"code": "rest_post_invalid_page_number"})


def test_all_pages(tmp_path):
    pulled = Pulled(WordPress(), Directory(range(5)).site, tmp_path)
    assert pulled.whole
    assert pulled.ids() == ["s0", "s1", "s2", "s3", "s4"]


@pytest.mark.parametrize("pages", ["", "many"])
def test_a_number_of_pages_that_is_not_told_is_a_fault_and_not_zero(pages, tmp_path):
    with pytest.raises(Retry, match="the header x-wp-totalpages is missing or not a number"):
        Pulled(WordPress(), Directory(range(5), x_wp_totalpages=pages).site, tmp_path)


def test_fewer_photos_than_are_told_are_not_whole(tmp_path):
    pulled = Pulled(WordPress(), Directory(range(5), x_wp_total=50).site, tmp_path)
    assert "5 of 50 announced items came" in present(pulled.error)
    assert len(pulled.rows) == 5


def test_a_photo_that_is_added_meanwhile_moves_no_other(tmp_path):
    def add(numbers, page):
        if page == 2:
            numbers.append(9)

    assert Pulled(WordPress(), Directory(range(5), add).site, tmp_path).ids() == [
        "s0",
        "s1",
        "s2",
        "s3",
        "s4",
        "s9",
    ]


def test_a_last_page_that_is_deleted_meanwhile_is_reported_and_no_error_for_ever(tmp_path):
    def delete(numbers, page):
        if page == 3 and 4 in numbers:
            numbers.remove(4)

    pulled = Pulled(WordPress(), Directory(range(5), delete).site, tmp_path)
    assert "4 of 5 announced items came" in present(pulled.error)
    assert pulled.ids() == ["s0", "s1", "s2", "s3"]


def test_a_byte_order_mark_costs_no_page(tmp_path):
    directory = Directory([1])
    honest = directory.site.answer

    def answer(method, url, params):
        found = honest(method, url, params)
        return Reply(b"\xef\xbb\xbf" + orjson.dumps(found)) if method == "GET" else found

    assert Pulled(WordPress(), Site(answer), tmp_path).ids() == ["s1"]


@pytest.mark.parametrize("body", [{"code": "rest_error", "message": "Sorry, not now."}, [], None])
def test_an_answer_that_is_no_page(body, tmp_path):
    directory = Directory([1])
    honest = directory.site.answer
    site = Site(lambda method, *asked: honest(method, *asked) if method == "HEAD" else body)
    with pytest.raises(Retry, match=r"not a list|is empty, but more pages were announced"):
        Pulled(WordPress(), site, tmp_path)
