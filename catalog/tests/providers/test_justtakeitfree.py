"""Justtakeitfree: items are lists of one."""

import pytest

from catalog.core.errors import Retry
from catalog.providers.justtakeitfree.provider import Justtakeitfree
from catalog.tests.providers.site import Pulled, Reply, Site


def photo(n, **over):
    return {
        "page_link": f"https://justtakeitfree.com/photo/{n}/",
        "full_image_link": f"https://justtakeitfree.com/photos/{n}.jpg",
        "license_link": "https://creativecommons.org/licenses/by/4.0/deed.en",
        **over,
    }


def justtakeitfree(*pages):
    def answer(method, url, params):
        if method == "HEAD":
            return Reply(content_length=3)
        number = int(params["page"])
        return {"data": pages[number - 1] if number <= len(pages) else []}

    return Site(answer)


def test_lists_of_one_and_of_other_lengths(tmp_path):
    """A photo that is not in a list, and several in one, would be no photo less."""
    pages = [[photo(1)], photo(2), []], [[photo(3), photo(4)]]
    pulled = Pulled(Justtakeitfree(), justtakeitfree(*pages), tmp_path)
    assert pulled.whole
    assert pulled.ids() == ["1", "2", "3", "4"]
    assert pulled.counts.skipped == {"nothing usable": 1}


def test_an_item_that_holds_no_photo_is_a_reject(tmp_path):
    pulled = Pulled(Justtakeitfree(), justtakeitfree([[photo(1)], ["photo"], [None]]), tmp_path)
    assert pulled.ids() == ["1"]
    assert sum(pulled.counts.rejected.values()) == 2


@pytest.mark.parametrize("body", [{}, {"data": None}, {"error": "wrong key"}, {"photos": []}])
def test_an_answer_without_its_list(body, tmp_path):
    with pytest.raises(Retry):
        Pulled(Justtakeitfree(), Site(lambda *_: body), tmp_path)


def test_an_empty_page_in_the_middle_is_noticed(tmp_path):
    site = justtakeitfree([[photo(1)]], [], [[photo(2)]])
    with pytest.raises(Retry, match="page 2 is empty, but page 3 is not"):
        Pulled(Justtakeitfree(), site, tmp_path)
