"""Licenses from URLs and pairs."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.core.licenses import (
    CC0,
    PAIR_BY_PATH,
    PATH_BY_PAIR,
    PDM,
    license_from_name,
    license_from_pair,
    license_from_url,
)
from catalog.tests.values import present

BASE = "https://creativecommons.org/"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://creativecommons.org/licenses/by/4.0/", ("by", "4.0")),
        ("http://creativecommons.org/licenses/by-nc-nd/2.0", ("by-nc-nd", "2.0")),
        ("//creativecommons.org/licenses/by-sa/3.0/deed.fr", ("by-sa", "3.0")),
        ("HTTPS://WWW.CreativeCommons.org/Licenses/BY-SA/3.0/DE/Legalcode", ("by-sa", "3.0")),
        ("https://creativecommons.org/licenses/by/3.0/igo/", ("by", "3.0")),
        ("https://creativecommons.org/licenses/by-nc-nd/3.0/igo/deed.en", ("by-nc-nd", "3.0")),
        ("https://creativecommons.org/licenses/by-sa/2.1/jp/", ("by-sa", "2.1")),
        ("https://creativecommons.org/licenses/by-nd-nc/1.0/", ("by-nc-nd", "1.0")),
        ("https://creativecommons.org/licenses/publicdomain/", ("publicdomain", "N/A")),
        ("https://creativecommons.org/licenses/sampling+/1.0/", ("sampling+", "1.0")),
        ("https://creativecommons.org/publicdomain/mark/1.0/deed.de", ("pdm", "1.0")),
        ("https://creativecommons.org/share-your-work/public-domain/cc0/", ("cc0", "1.0")),
        ("https://creativecommons.org/licenses/by-nc/2.0/de/?ref=search&atype=rich", ("by-nc", "2.0")),
        ("https://creativecommons.org/licenses/by-sa/3.0/?title=a-photo-by-me", ("by-sa", "3.0")),
        ("https://creativecommons.org/licenses/by-nc-sa/4.0/?license=by-nc-sa", ("by-nc-sa", "4.0")),
        ("https://creativecommons.org/licenses/by/4.0/legalcode.zh-hant.html", ("by", "4.0")),
        ("https://creativecommons.org/licenses/by/4.0/deed.es_419", ("by", "4.0")),
        ("https://creativecommons.org/publicdomain/zero/1.0/?ref=cc0", ("cc0", "1.0")),
        ("https://creativecommons.org/publicdomain/mark/1.0/?title=Painting%20by%20X", ("pdm", "1.0")),
        ("https://creativecommons.org/publicdomain/zero/1.0/?author=Sa+Ra&at=Raleigh,+NC#c", ("cc0", "1.0")),
        ("https://creativecommons.org/licenses/by/4.0/?title=Raleigh%2C+NC", ("by", "4.0")),
        ("https://creativecommons.org/licenses/by/4.0/?license=CC+BY+4.0+International", ("by", "4.0")),
    ],
)
def test_from_url(url, expected):
    found = license_from_url(url)
    assert found is not None
    assert (found.slug, found.version) == expected
    assert found.raw_url == url


@pytest.mark.parametrize(
    "url",
    [
        None,
        7,
        "",
        "by",
        "https://example.org/licenses/by/4.0/",
        "https://creativecommons.org.example.org/licenses/by/4.0/",
        "https://creativecommons.org/",
        "https://creativecommons.org/licenses/by/9.0/",
        "https://creativecommons.org/licenses/by/4.0/../evil",
        "https://creativecommons.org/licenses/by/4.0/something/else/entirely",
        "https://[broken",
        "https://creativecommons.org\u2100/licenses/by/4.0/",
        "https://creativecommons.org/licenses/by/2.1/",
        "https://creativecommons.org/licenses/by/4.0/nc",
        "https://creativecommons.org/licenses/by/3.0/nd/deed.en",
        "https://creativecommons.org/licenses/by/4.0/deed.by-nc",
        "https://creativecommons.org/licenses/by/4.0/legalcode_sa",
        "https://creativecommons.org/licenses/by/4.0/non-commercial",
        "https://creativecommons.org/licenses/by/4.0/deed.bync",
        "https://creativecommons.org/licenses/by/4.0/?type=noncommercial",
        "https://creativecommons.org/licenses/by/4.0/?type=%6eC",
        "https://creativecommons.org/licenses/by/3.0/us?license=by-nc",
        "https://creativecommons.org/publicdomain/zero/1.0/#by",
        "https://creativecommons.org/publicdomain/zero/1.0/?license=cc-by-nc-4.0",
        "https://creativecommons.org/publicdomain/mark/1.0/?by-sa",
        "https://creativecommons.org/licenses/by/4.0/?type=non-commercial",
        "https://creativecommons.org/licenses/by/4.0/?title=x;license=CC+BY-NC+for+photos",
        "https://creativecommons.org/licenses/by/4.0/?Attribution-NonCommercial+4.0+International",
    ],
)
def test_not_a_license(url):
    assert license_from_url(url) is None


def test_a_jurisdiction_keeps_its_address_as_given_and_gets_the_canonical_one():
    found = present(license_from_url("https://creativecommons.org/licenses/by-sa/3.0/de/deed.en"))
    assert found.url == BASE + "licenses/by-sa/3.0/"
    assert present(found.raw_url).endswith("/de/deed.en")


@pytest.mark.parametrize(
    ("pair", "path"),
    [
        (("by", "4"), "licenses/by/4.0"),
        (("BY-NC-ND ", 2.0), "licenses/by-nc-nd/2.0"),
        (("by-nc-nd", "1.0"), "licenses/by-nd-nc/1.0"),
        (("by", "2.1"), "licenses/by/2.0"),
        (("pdm", "1.0"), "publicdomain/mark/1.0"),
        (("publicdomain", "N/A"), "licenses/publicdomain"),
        (("nc", "2.0"), "licenses/nc/2.0/jp"),
    ],
)
def test_from_pair(pair, path):
    assert present(license_from_pair(*pair)).url == f"{BASE}{path}/"


@pytest.mark.parametrize(
    "url",
    [["https://creativecommons.org/licenses/by/4.0/"], {}, b"https://creativecommons.org/licenses/by/4.0/"],
)
def test_what_is_no_text_is_no_license(url):
    assert license_from_url(url) is None
    assert license_from_pair(url, "4.0") is None


@pytest.mark.parametrize(
    "pair",
    [
        ("by", "x"),
        ("by", None),
        ("by", ["4.0"]),
        ("by", {}),
        ("by", 10**400),
        (["by"], "4.0"),
        (None, "4.0"),
        ("all-rights-reserved", "1.0"),
        ("by", "nan"),
    ],
)
def test_no_such_pair(pair):
    assert license_from_pair(*pair) is None


def test_what_was_asked_before_does_not_matter():
    """True equals 1, so a cache would give the answer for one to the other."""
    assert license_from_pair("cc0", True) is None
    assert license_from_pair("cc0", 1) == license_from_pair("cc0", "1.0")
    assert license_from_pair("cc0", True) is None


def test_the_given_address_is_text_or_none():
    """JSON may hold anything in its place."""
    for given_url, kept in ((orjson.loads('["x"]'), None), (orjson.loads('"x"'), "x")):
        assert present(license_from_pair("by", 4, given_url)).raw_url == kept


def test_constants():
    assert (CC0.url, PDM.url) == (BASE + "publicdomain/zero/1.0/", BASE + "publicdomain/mark/1.0/")


@given(
    st.sampled_from(sorted(PAIR_BY_PATH)),
    st.sampled_from(["", "/", "/deed", "/deed.pt_BR", "/legalcode.txt", "/rdf", "//"]),
    st.sampled_from(["https://", "http://", "//", ""]),
    st.sampled_from(["", "www."]),
)
def test_every_path_in_every_spelling(path, end, scheme, www):
    found = license_from_url(f"{scheme}{www}creativecommons.org/{path}{end}")
    assert found is not None
    assert (found.slug, found.version) == PAIR_BY_PATH[path]
    assert license_from_url(found.url) is not None


@given(st.sampled_from(sorted(PATH_BY_PAIR)))
def test_a_pair_comes_back_from_its_own_address(pair):
    """But for 2.1, which has no international deed of its own."""
    again = present(license_from_url(present(license_from_pair(*pair)).url))
    assert (again.slug, again.version) == (pair if pair[1] != "2.1" else (pair[0], "2.0"))


@given(st.text())
def test_wild_text_never_raises(text):
    license_from_url(text)
    license_from_url("https://creativecommons.org/" + text)
    license_from_pair(text, text)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("CC BY 4.0", ("by", "4.0")),
        ("CC-BY-NC-SA 4.0", ("by-nc-sa", "4.0")),
        ("cc_by_nd_3.0", ("by-nd", "3.0")),
        ("BY-SA 2.5", ("by-sa", "2.5")),
        ("CC BY 4.0 International License", ("by", "4.0")),
        ("Creative Commons Attribution-ShareAlike 4.0 International", ("by-sa", "4.0")),
        ("Attribution-NonCommercial-NoDerivs 3.0 Unported", ("by-nc-nd", "3.0")),
        ("CC0", ("cc0", "1.0")),
        ("CC0 1.0 Universal Public Domain Dedication", ("cc0", "1.0")),
        ("Creative Commons Zero", ("cc0", "1.0")),
        ("Public Domain Mark", ("pdm", "1.0")),
        ("Public Domain Mark 1.0", ("pdm", "1.0")),
    ],
)
def test_from_name(name, expected):
    found = present(license_from_name(name))
    assert (found.slug, found.version) == expected


@pytest.mark.parametrize(
    "name",
    [
        *(None, 7, "", "0", "1.0", "by", "CC", "CC BY", "CC BY 9.0", "CC BY-ND-SA 4.0", "Public Domain"),
        *("Public domain dedication", "All rights reserved", "not CC BY 4.0", "CC BY 4.0 or CC0"),
    ],
)
def test_a_name_that_says_no_license_and_version(name):
    assert license_from_name(name) is None


def test_the_version_that_the_terms_say_is_for_names_without_one():
    assert present(license_from_name("CC BY-SA", "4.0")).version == "4.0"
    assert present(license_from_name("CC BY-SA 2.0", "4.0")).version == "2.0"
    assert present(license_from_name("CC0", "4.0")).version == "1.0"
    assert license_from_name("All rights reserved", "4.0") is None


@given(pair=st.sampled_from([pair for pair in PATH_BY_PAIR if pair[0].startswith("by")]))
def test_every_name_of_a_license_is_parsed(pair):
    slug, version = pair
    for name in (
        f"CC {slug.upper()} {version}",
        f"cc-{slug}-{version}",
        f"CC {slug.replace('-', ' ')} {version}",
    ):
        assert present(license_from_name(name)).url == present(license_from_pair(slug, version)).url
