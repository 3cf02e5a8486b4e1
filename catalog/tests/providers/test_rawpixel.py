"""Rawpixel: signatures, closing phrases, and a key that is not given everything."""

import pytest

from catalog.core.errors import Retry
from catalog.core.secrets import Secret
from catalog.providers.rawpixel.provider import Rawpixel, clean, title
from catalog.tests.providers.site import Pulled, Site

# Signatures were computed by hand for a key that is no secret.


@pytest.mark.parametrize(
    ("params", "signature"),
    [
        ({}, "j5VDmEme7JqzMkKAxNfjWb6EaVtIpLq4N2QnYIHZvWg"),
        ({"foo": "bar", "dogs": 12}, "qWEHU7OsSfSFcNsqS9OkHWMDWe_33DBxMR9ULOLrLSw"),
        ({"foo": "bar", "sentence": "to+be+or+not+to+be"}, "aJccI57xaj_pH_xUcD208ZKO_lWne0c2KsjSO15qI-I"),
        ({"foo": "bar", "sentence": "to be or not to be"}, "jbW0P2Oi2LL-BLvRsGAydF7VGlFOvWQFMSbkJFX6LQo"),
        (
            {"foo": "bar", "favorites": ["chocolate", "video games", "cats"]},
            "FM_kVUym-GonOgfZAeNuswEQLZas3BOOvkTXvax_mTw",
        ),
        (
            {"tags": "$publicdomain", "page": 1, "pagesize": 100},
            "IxLqyn0SgJfJK1XQmSsc2jT68_qiSWmOlu5l6CmbX_8",
        ),
    ],
)
def test_requests_are_signed(params, signature):
    signed = Rawpixel.key.sign(
        "https://www.rawpixel.com/api/v1/search", {**params, "s": "old"}, Secret("PREDICTABLE-KEY")
    )
    assert signed.params == {**params, "s": signature}
    assert signed.headers == {}


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("A fox searches for food | Free Photo - rawpixel", "A fox searches for food"),
        (
            "Desktop wallpaper summer beach landscape, | Free Photo",
            "Desktop wallpaper summer beach landscape",
        ),
        ("Red poppy field. Free public | Free Photo", "Red poppy field"),
        ("Free public domain CC0 photo. | Free Photo", None),
        ("The Magpie (1868&ndash;1869) | Free Photo", "The Magpie (1868&ndash;1869)"),  # decoded when written
        (None, None),
    ],
)
def test_titles_lose_the_closing_phrases(given, stored):
    assert title(given) == stored


def test_descriptions_end_where_their_text_ends():
    assert clean("  Made by hand. Digitally enhanced by rawpixel!") == "Made by hand"


def picture(n):
    return {
        "id": n,
        "url": f"https://www.rawpixel.com/image/{n}",
        "style_uri": f"https://images.rawpixel.com/{{}}/{n}.jpg",
        "metadata": {"licenseUrl": "https://creativecommons.org/publicdomain/zero/1.0/"},
    }


def rawpixel(*pages, **envelope):
    def answer(method, url, params):
        number = int(params["page"])
        return {"results": pages[number - 1] if number <= len(pages) else [], **envelope}

    return Site(answer)


def test_a_key_that_is_not_given_everything_is_not_whole(tmp_path):
    pulled = Pulled(Rawpixel(), rawpixel([picture(1), picture(2)], [picture(3)], total=313_893), tmp_path)
    assert "3 of 313,893 announced items came" in pulled.error
    assert pulled.ids() == ["1", "2", "3"]


@pytest.mark.parametrize(
    "envelope", [{}, {"total": None}, {"total": "many"}, {"error": "signature", "total": 0}]
)
def test_an_answer_that_does_not_say_how_many_there_are_is_an_error(envelope, tmp_path):
    with pytest.raises(Retry):
        Pulled(Rawpixel(), rawpixel([picture(1)], **envelope), tmp_path)


def test_a_list_that_is_renamed_is_an_error(tmp_path):
    site = Site(lambda *_: {"total": 1, "items": [picture(1)]})
    with pytest.raises(Retry, match="`results` is missing; the answer has `total`, `items`"):
        Pulled(Rawpixel(), site, tmp_path)
