"""Nappy: empty pages in the middle, and what each answer must say."""

import pytest

from catalog.core.errors import Retry
from catalog.providers.nappy.provider import Nappy
from catalog.tests.providers.site import Pulled, Site
from catalog.tests.values import present


def photo(n):
    return {
        "foreign_identifier": n,
        "foreign_landing_url": f"https://nappy.co/photo/{n}",
        "url": f"https://images.nappy.co/{n}.jpg",
    }


def nappy(*pages, total=None):
    def answer(method, url, params):
        number = int(params["page"])
        count = sum(map(len, pages)) if total is None else total
        following = number + 1 if number < len(pages) else None
        return {"images": pages[number - 1], "next_page": following, "total_results": count}

    return Site(answer)


def test_an_empty_page_that_names_a_next_one_is_passed(tmp_path):
    pulled = Pulled(Nappy(), nappy([], [photo(1)], [], [photo(2)]), tmp_path)
    assert pulled.whole
    assert pulled.ids() == ["1", "2"]


def test_fewer_photos_than_are_announced_are_not_whole(tmp_path):
    pulled = Pulled(Nappy(), nappy([photo(1)], [], total=40), tmp_path)
    assert "1 of 40 announced items came" in present(pulled.error)


@pytest.mark.parametrize("gone", ["images", "next_page", "total_results"])
def test_what_each_answer_must_say(gone, tmp_path):
    honest = nappy([photo(1)])
    site = Site(lambda *asked: {k: v for k, v in honest.answer(*asked).items() if k != gone})
    with pytest.raises(Retry, match=gone):
        Pulled(Nappy(), site, tmp_path)
    assert len(site.asked) == 1 + Nappy.retries
