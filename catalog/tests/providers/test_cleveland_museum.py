"""Cleveland: its address, its license filter, and totals that are held against what came."""

import pytest

from catalog.core.errors import Retry
from catalog.providers.cleveland_museum.provider import ClevelandMuseum
from catalog.tests.providers.site import Pulled, Site
from catalog.tests.values import present


def work(n, **over):
    return {
        "id": n,
        "url": f"https://clevelandart.org/art/{n}",
        "share_license_status": "CC0",
        "images": {"web": {"url": f"https://openaccess-cdn.clevelandart.org/{n}.jpg"}},
        **over,
    }


def cleveland(works, cap=1000, total=None):
    def answer(method, url, params):
        assert url == "https://openaccess-api.clevelandart.org/api/artworks/"
        assert (params["cc0"], params["has_image"]) == ("1", "1")
        at = int(params["skip"])
        shown = works[at : at + min(cap, int(params["limit"]))]
        return {"info": {"total": len(works) if total is None else total}, "data": shown}

    return Site(answer)


def test_a_server_that_gives_fewer_than_are_asked_for_costs_requests_and_no_works(tmp_path):
    site = cleveland([work(n) for n in range(1, 8)], cap=3)
    pulled = Pulled(ClevelandMuseum(), site, tmp_path)
    assert pulled.whole
    assert len(pulled.ids()) == 7
    assert [params["skip"] for _, _, params, _ in site.asked] == ["0", "3", "6", "7"]


def test_fewer_works_than_are_announced_are_not_whole(tmp_path):
    pulled = Pulled(ClevelandMuseum(), cleveland([work(1), work(2)], total=32_000), tmp_path)
    assert "2 of 32,000 announced items came" in present(pulled.error)
    assert pulled.ids() == ["1", "2"]


def test_a_total_that_is_missing_is_an_error(tmp_path):
    site = Site(lambda *_: {"info": {"count": 1}, "data": [work(1)]})
    with pytest.raises(Retry, match=r"`info\.total` is missing"):
        Pulled(ClevelandMuseum(), site, tmp_path)


def test_works_under_other_terms_are_left_out_even_if_the_filter_is_ignored(tmp_path):
    works = [work(1), work(2, share_license_status="Copyrighted"), work(3, share_license_status=None)]
    pulled = Pulled(ClevelandMuseum(), cleveland(works), tmp_path)
    assert pulled.ids() == ["1"]
    assert pulled.counts.skipped == {"not CC0": 2}
