"""Smithsonian: new and unlisted unit codes, failures in envelopes, records without a page, sizes."""

import pytest

from catalog.core.errors import Retry, UnexpectedResponse
from catalog.ingestion.records import Image, Skip
from catalog.ingestion.state import MemoryCheckpoint
from catalog.providers.smithsonian.provider import Smithsonian
from catalog.providers.smithsonian.rows import creator, pixels
from catalog.providers.smithsonian.search import check, new_unit_codes
from catalog.providers.smithsonian.units import SOURCES
from catalog.tests.providers.fake_api import client
from catalog.tests.providers.mapped import records_of
from catalog.tests.providers.site import Pulled, Site
from catalog.tests.values import present

PREFIX = "hash:00*"


def row(n, unit="NPM", **described):
    medium = {
        "idsId": f"m{n}",
        "type": "Images",
        "usage": {"access": "CC0"},
        "content": f"https://ids.si.edu/{n}",
    }
    named = {"record_link": f"https://www.si.edu/r{n}", "online_media": {"media": [medium]}}
    return {
        "title": f"T{n}",
        "content": {"descriptiveNonRepeating": {"unit_code": unit, **named, **described}},
    }


def smithsonian(rows, codes=tuple(SOURCES), most=1000, without_hash=0):
    """A site that has all rows below the first prefix, except some; a page has at most `most`."""

    def answer(method, url, params):
        if url.endswith("/terms/unit_code"):
            return {"status": 200, "responseCode": 1, "response": {"terms": list(codes)}}
        found = rows[without_hash:] if params["q"].endswith(PREFIX) else []
        if "hash" not in params["q"]:
            found = rows
        shown = found[int(params["start"]) :][: min(most, int(params["rows"]))]
        return {"status": 200, "responseCode": 1, "response": {"rows": shown, "rowCount": len(found)}}

    return Site(answer)


def test_rows_of_a_new_museum_are_skipped_and_the_run_says_what_to_add(tmp_path):
    site = smithsonian([row(1), row(2, "NEW1"), row(3, " NEW1 ")], ["NEW2", "NEW1", *SOURCES])
    pulled = Pulled(Smithsonian(), site, tmp_path)
    assert pulled.ids() == ["m1"]
    assert pulled.counts.skipped == {"unknown unit code NEW1": 2}
    assert "items of new unit codes are skipped; add `NEW1`, `NEW2` to SOURCES" in present(pulled.error)
    assert not [params for _, _, params, _ in site.asked if "new_unit_codes" in params]


def test_new_codes_are_told_again_until_they_are_known(tmp_path, monkeypatch):
    checkpoint = MemoryCheckpoint()
    codes = ["NEW1", *SOURCES]
    for _ in range(2):
        pulled = Pulled(Smithsonian(), smithsonian([row(1)], codes), tmp_path, checkpoint=checkpoint)
        assert "add `NEW1`" in present(pulled.error)
    monkeypatch.setitem(SOURCES, "NEW1", "smithsonian_new")
    assert Pulled(Smithsonian(), smithsonian([row(1)], codes), tmp_path, checkpoint=checkpoint).whole


def test_museums_that_are_gone_stop_nothing(tmp_path, caplog):
    with caplog.at_level("INFO"):
        pulled = Pulled(Smithsonian(), smithsonian([row(1)], [c for c in SOURCES if c != "ACM"]), tmp_path)
    assert pulled.whole
    assert "does not list: ACM" in caplog.text


@pytest.mark.parametrize("terms", [[], None, "NPM"])
def test_no_unit_codes_at_all(terms):
    with pytest.raises(Retry, match=r"list of unit codes is empty|response\.terms"):
        new_unit_codes(client(lambda *_: {"response": {"terms": terms}}))


def test_every_code_that_the_api_lists_has_a_source():
    assert {"NMAA", "OCIO_DPO3D", "CHSDM", "SLA_SRO", "NMAfA", "OFEO-SG"} <= SOURCES.keys()
    assert all(source.startswith("smithsonian_") for source in SOURCES.values())


@pytest.mark.parametrize(
    "body",
    [
        {"status": 500, "responseCode": -1, "response": {"message": "search failed"}},
        {"status": "500", "response": {"rows": [], "rowCount": 0}},
        {"responseCode": -1, "response": {"rows": [], "rowCount": 0}},
        {"status": [], "response": {"rows": [], "rowCount": 0}},
    ],
)
def test_an_envelope_that_reports_a_failure(body):
    with pytest.raises(UnexpectedResponse, match="status"):
        check(body)


@pytest.mark.parametrize("envelope", [{}, {"status": 200}, {"status": "200", "responseCode": 0}])
def test_an_envelope_in_order(envelope):
    check({**envelope, "response": {}})


def test_a_server_that_caps_its_pages_costs_requests_not_rows(tmp_path):
    pulled = Pulled(Smithsonian(), smithsonian([row(n) for n in range(25)], most=10), tmp_path)
    assert len(pulled.ids()) == 25
    assert pulled.whole


def test_items_that_no_prefix_of_a_hash_finds(tmp_path):
    pulled = Pulled(Smithsonian(), smithsonian([row(n) for n in range(25)], without_hash=5), tmp_path)
    assert len(pulled.ids()) == 20
    assert "the parts by hash hold 20 items, the collection 25" in present(pulled.error)


def test_a_collection_that_is_said_to_be_empty_once(tmp_path):
    """Compared with nothing, the parts would lack nothing."""
    site, lies = smithsonian([row(n) for n in range(25)], without_hash=5), [True]
    honest = site.answer

    def answer(method, url, params):
        body = honest(method, url, params)
        if "hash" not in params.get("q", "hash") and lies:
            lies.clear()
            body["response"]["rowCount"] = 0
        return body

    site.answer = answer
    assert "the parts by hash hold 20 items, the collection 25" in present(
        Pulled(Smithsonian(), site, tmp_path).error
    )


def test_a_prefix_that_seems_to_be_empty_is_asked_for_again(tmp_path):
    """It would be less of the collection than may change while it is read."""
    site, lies = smithsonian([row(n) for n in range(25)]), [True]
    honest = site.answer

    def answer(method, url, params):
        if params["q"].endswith(PREFIX) and lies:
            lies.clear()
            return {"status": 200, "responseCode": 1, "response": {"rows": [], "rowCount": 0}}
        return honest(method, url, params)

    site.answer = answer
    assert len(Pulled(Smithsonian(), site, tmp_path).ids()) == 25
    assert not lies


def test_fewer_rows_than_a_prefix_announces(tmp_path):
    site = smithsonian([row(n) for n in range(25)])
    whole = site.answer

    def cut(method, url, params):
        body = whole(method, url, params)
        if params["q"].endswith(PREFIX) and "rows" in body["response"]:
            body["response"]["rows"] = body["response"]["rows"][:10] if params["start"] == "0" else []
        return body

    site.answer = cut
    assert "10 of 25 announced items came" in present(Pulled(Smithsonian(), site, tmp_path).error)


@pytest.mark.parametrize(
    ("unit", "described", "landing"),
    [
        ("NPM", {}, "https://www.si.edu/r1"),
        ("NPM", {"record_link": None, "guid": "http://n2t.net/x"}, "http://n2t.net/x"),
        ("NZP", {"record_link": None, "record_ID": "nzp_1"}, "https://nationalzoo.si.edu/object/nzp_1"),
        ("FBR", {"record_link": None, "record_ID": "fbr_1"}, "https://www.si.edu/object/fbr_1"),
    ],
)
def test_landing_pages(unit, described, landing):
    (image,) = records_of(Smithsonian().record(row(1, unit, **described)))
    assert isinstance(image, Image)
    assert image.foreign_landing_url == landing


def test_a_record_without_any_page():
    assert Smithsonian().record(row(1, record_link=None)) == Skip("no landing URL")
    assert Smithsonian().record(row(1, unit=None)) == Skip("no unit code")


def file(label, **more):
    return {"label": label, "url": "https://ids.si.edu/ids/download?id=1", **more}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([file("High-resolution JPEG", width=8688, height=5792)], (8688, 5792)),
        (
            [file("High-resolution TIFF", width=9, height=9), file("High-resolution JPEG (7033x1885)")],
            ("7033", "1885"),
        ),
        ([file("High-resolution JPEG (8688x8688)")], (None, None)),
        ([file("High-resolution JPEG"), file("Screen Image", width=640, height=480)], (None, None)),
        ("none", (None, None)),
        ([None, "x", {"label": 5}], (None, None)),
    ],
)
def test_pixels_are_those_of_the_best_file(files, expected):
    assert pixels({"resources": files}) == expected


def test_the_thumbnail_comes_along():
    raw = row(1)
    raw["content"]["descriptiveNonRepeating"]["online_media"]["media"][0]["thumbnail"] = (
        "https://ids.si.edu/t"
    )
    (image,) = records_of(Smithsonian().record(raw))
    assert isinstance(image, Image)
    assert image.thumbnail == "https://ids.si.edu/t"


@pytest.mark.parametrize(
    ("names", "indexed", "expected"),
    [
        ([("Collector", "Cora"), ("Maker", "Mia"), ("Artist", "Unknown maker")], [], "Mia"),
        (
            [("Artist", "Ada"), ("painter", "Pia"), ("Author", "Bea"), ("creator", "Cleo")],
            [],
            "Ada; Bea and Cleo",
        ),
        ([("Artist", "Ada"), ("Creator", "Bea")], [], "Ada and Bea"),
        ([("Friend", "Fay")], ["plain", {"type": "Personal_Main", "content": "Ida"}], "Ida"),
        ([("Artist", "  "), ("Artist", 5)], [], None),
    ],
)
def test_creators(names, indexed, expected):
    content = {
        "freetext": {"name": [{"label": a, "content": b} for a, b in names]},
        "indexedStructured": {"name": indexed},
    }
    assert creator(content) == expected
