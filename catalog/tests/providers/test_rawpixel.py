"""Rawpixel: signatures, closing phrases, and a key without access to everything."""

import pytest

from catalog.core.errors import Retry
from catalog.core.secrets import Secret
from catalog.providers.rawpixel.provider import Rawpixel, clean, title
from catalog.tests.providers.site import Pulled, Site
from catalog.tests.values import present

# The signatures were computed with `openssl dgst -sha256 -hmac`, for a key that is not a secret.


@pytest.mark.parametrize(
    ("params", "signature"),
    [
        ({}, "cBat-g699AGmWal1qNFXBGzOs3-GRBjNj8UZTllBb_s"),
        ({"colour": "green", "rows": 7}, "vW7FRL50McnCyiElVzEcwSEwxxGQhs2Qj2ITL48VUC0"),
        ({"colour": "green", "motto": "bread+and+salt"}, "e__e6qXo2XKQt5U1QrVLYTii8-p6I_wWuhtxkN7eulM"),
        ({"colour": "green", "motto": "bread and salt"}, "FyzFw3uri4bWx0l0s3mG_wGJqNluOZkHnq7K0XwoRgM"),
        (
            {"colour": "green", "shapes": ["ring", "round tower", "arch"]},
            "wgW79JSG7PMjxNQd4LTcFCF7WmWKzn8xmuXXObAqWM4",
        ),
        ({"tags": "$publicdomain", "page": 3, "pagesize": 50}, "eUsmokJ1gwE7wNgOyEBB3_NCja9qHOZfJlavl5V120I"),
    ],
)
def test_requests_are_signed(params, signature):
    signed = Rawpixel.key.sign(
        "https://www.rawpixel.com/api/v1/search", {**params, "s": "old"}, Secret("a made-up key")
    )
    assert signed.params == {**params, "s": signature}
    assert signed.headers == {}


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("Made-up lighthouse at noon | Free Photo - rawpixel", "Made-up lighthouse at noon"),
        ("Phone background with made-up dunes, | Free Photo", "Phone background with made-up dunes"),
        ("Two made-up teapots. Free public | Free Photo", "Two made-up teapots"),
        ("Free public domain CC0 photo. | Free Photo", None),
        ("A Ferry (1702&ndash;1703) | Free Photo", "A Ferry (1702&ndash;1703)"),  # decoded when written
        (None, None),
    ],
)
def test_titles_lose_the_closing_phrases(given, stored):
    assert title(given) == stored


def test_descriptions_lose_the_closing_phrases():
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


def test_a_pull_with_an_ordinary_key_is_not_whole(tmp_path):
    pulled = Pulled(Rawpixel(), rawpixel([picture(1), picture(2)], [picture(3)], total=313_893), tmp_path)
    assert "3 of 313,893 announced items came" in present(pulled.error)
    assert pulled.ids() == ["1", "2", "3"]


@pytest.mark.parametrize(
    "envelope", [{}, {"total": None}, {"total": "many"}, {"error": "signature", "total": 0}]
)
def test_a_response_without_a_total_is_an_error(envelope, tmp_path):
    with pytest.raises(Retry):
        Pulled(Rawpixel(), rawpixel([picture(1)], **envelope), tmp_path)


def test_a_renamed_list_is_an_error(tmp_path):
    site = Site(lambda *_: {"total": 1, "items": [picture(1)]})
    with pytest.raises(Retry, match="`results` is missing; the response has `total`, `items`"):
        Pulled(Rawpixel(), site, tmp_path)
