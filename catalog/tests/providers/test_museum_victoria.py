"""Museums Victoria: a filter that the API ignores is detected."""

import pytest

from catalog.core.errors import UnexpectedResponse
from catalog.ingestion.records import Image
from catalog.providers.museum_victoria.provider import LICENSES, MuseumVictoria
from catalog.tests.providers.mapped import records_of
from catalog.tests.providers.site import Pulled, Reply, Site
from catalog.tests.values import present

NONE = {"shortName": ""}
DEEDS = {"cc by": "by/4.0", "cc by-nd": "by-nd/4.0", "cc by-sa": "by-sa/4.0"}


def record(n, *licenses):
    """A record with one image under each license, and one under none."""
    names = [*licenses, "all rights reserved"]
    media = [
        {
            "id": f"media/{n}-{number}",
            "type": "image",
            "licence": {
                "shortName": name.upper(),
                "uri": f"https://creativecommons.org/licenses/{DEEDS[name]}" if name in DEEDS else "",
            },
            "large": {"uri": f"https://example.org/{n}-{number}.jpg"},
        }
        for number, name in enumerate(names)
    ]
    return {"id": f"items/{n}", "displayTitle": f"T{n}", "media": media}


def museum(records, known="imagelicence", renamed=None, totals=False):
    """The search, which ignores parameters that it does not know.

    known: name of its filter; renamed: a value of it that finds nothing; totals: responses announce them.
    """

    def answer(method, url, params):
        wanted, page, size = params.get(known), int(params.get("page", 1)), int(params["perpage"])
        found = [
            r
            for r in records
            if wanted is None
            or any((m["licence"] or NONE)["shortName"].lower() == wanted != renamed for m in r["media"])
        ]
        page = max(page, 1)  # it counts pages from 1
        shown = found[(page - 1) * size : page * size]
        return Reply(shown, total_results=len(found)) if totals else shown

    return Site(answer)


def test_each_license_is_asked_for_from_the_first_page_on(tmp_path):
    site = museum([record(1, "cc by"), record(2, "cc by-nd", "cc by"), record(3)])
    pulled = Pulled(MuseumVictoria(), site, tmp_path)
    assert sorted(pulled.ids()) == ["media/1-0", "media/2-0", "media/2-1"]
    asked = [params for _, _, params, _ in site.asked if params["perpage"] == "100"]
    assert {params["imagelicence"] for params in asked} == set(LICENSES)
    assert "cc by-nd" in LICENSES
    assert "0" not in {params["page"] for _, _, params, _ in site.asked}


def test_a_filter_that_has_no_effect_is_an_error(tmp_path):
    site = museum([record(n, "cc by") for n in range(500)], known="imagelicense")
    with pytest.raises(
        UnexpectedResponse, match="100 of the 100 records found by imagelicence=cc by-nd hold no image"
    ):
        Pulled(MuseumVictoria(), site, tmp_path)
    assert len(site.asked) == 1


def test_a_license_that_is_renamed_is_no_license_without_records(tmp_path):
    records = [record(n, "cc by" if n % 2 else "cc by-sa") for n in range(20)]
    records += [record(n) for n in range(20, 30)]
    for number in range(20, 30):
        records[number]["media"][0]["licence"]["shortName"] = "All Rights Reserved"
    assert Pulled(MuseumVictoria(), museum(records, totals=True), tmp_path / "whole").whole
    single = [{**r, "media": r["media"][:1]} for r in records]
    pulled = Pulled(MuseumVictoria(), museum(single, renamed="cc by", totals=True), tmp_path)
    assert len(pulled.ids()) == 10
    said = "the parts by license hold 20 items, the collection 30; images under cc by are in none of them"
    assert said in present(pulled.error)


def test_a_license_that_is_not_on_the_list_is_named(tmp_path):
    records = [record(n) for n in range(200)] + [record(n, "cc by") for n in range(200, 400)]
    for raw in records[200:]:
        (medium, _) = raw["media"]
        if raw["id"].endswith(("1", "2")):
            medium["licence"]["shortName"] = "CC BY 5"
        raw["media"] = [medium]
    pulled = Pulled(MuseumVictoria(), museum(records, totals=True), tmp_path)
    assert "the collection 400; images under cc by 5 are in none of them" in present(pulled.error)


@pytest.mark.parametrize("licence", [None, {"shortName": "Orphan Work", "uri": "https://example.org/rights"}])
def test_records_whose_images_have_no_free_license_are_no_shortfall(tmp_path, licence):
    """Nothing of them could be kept, however many there are."""
    records = [record(n, "cc by") for n in range(20)] + [record(20)]
    others = [record(n) for n in range(21, 300)]
    for raw in others:
        raw["media"] = [{**raw["media"][0], "licence": licence}]
    pulled = Pulled(MuseumVictoria(), museum(records + others, totals=True), tmp_path)
    assert pulled.whole
    assert len(pulled.ids()) == 20


def test_single_records_that_changed_since_they_were_indexed_are_no_error(tmp_path):
    site = museum([record(n, "cc by") for n in range(20)])
    found = site.answer

    def late(method, url, params):
        return found(method, url, params) + [record(99, "cc by-sa")] * (params["page"] == "1")

    site.answer = late
    pulled = Pulled(MuseumVictoria(), site, tmp_path)
    assert len(pulled.ids()) == 21


def test_a_search_that_ends_early_is_held_against_the_total_in_its_header(tmp_path):
    site = museum([record(n, "cc by") for n in range(150)])
    found = site.answer

    def cut(method, url, params):
        items = [] if params["page"] != "1" else found(method, url, params)
        return Reply(items, total_results=150 * bool(found(method, url, {**params, "page": "1"})))

    site.answer = cut
    pulled = Pulled(MuseumVictoria(), site, tmp_path)
    assert len(pulled.ids()) == 100
    assert "100 of 150 announced items came" in present(pulled.error)


def test_keywords_and_classifications_are_tags():
    raw = {**record(1, "cc by"), "keywords": ["Coins"], "classifications": "x", "collectionNames": ["Money"]}
    image, _ = records_of(MuseumVictoria().record(raw))
    assert isinstance(image, Image)
    assert image.tags == ["Coins", "x", "Money"]
