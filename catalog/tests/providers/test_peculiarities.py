"""What is peculiar about single providers, beyond what the suite over all of them asks."""

from datetime import UTC, date, datetime
from itertools import pairwise

import pytest
from upath import UPath

from catalog.ingestion.errors import Fatal, Retry
from catalog.ingestion.parts import Parts
from catalog.ingestion.pull import SEEN, Pull
from catalog.ingestion.records import Skip
from catalog.ingestion.secrets import Secret
from catalog.ingestion.state import MemoryCheckpoint
from catalog.ingestion.windows import day_window
from catalog.providers.cc_mixter.provider import decode
from catalog.providers.finnish_museums.provider import FinnishMuseums, filters
from catalog.providers.metropolitan_museum.provider import OBJECTS, MetropolitanMuseum
from catalog.providers.phylopic.provider import PhyloPic
from catalog.providers.rawpixel.provider import Rawpixel, clean, title
from catalog.providers.science_museum.provider import LAST_PAGE, ScienceMuseum, year_ranges
from catalog.providers.smithsonian.provider import check_units, creator
from catalog.providers.smithsonian.units import SOURCES
from catalog.tests.providers.fake_api import client, walk

# Rawpixel: signatures computed by hand for a key that is no secret


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
def test_rawpixel_signs_requests(params, signature):
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
        ("The Magpie (1868&ndash;1869) | Free Photo", "The Magpie (1868\u20131869)"),
        (None, None),
    ],
)
def test_rawpixel_titles_lose_the_closing_phrases(given, stored):
    assert title(given) == stored


def test_rawpixel_descriptions_end_where_their_text_ends():
    assert clean("  Made by hand. Digitally enhanced by rawpixel!") == "Made by hand"


# ccMixter


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 0123}', {"a": 123}), ('{"a":00123,"b":1}', {"a": 123, "b": 1}), ('{"a": 0123.0}', {"a": 123.0}), ('{"a": -007}', {"a": -7}),
        ('{"a": 0, "b": 0.5, "c": 100}', {"a": 0, "b": 0.5, "c": 100}), ('["x: 007, \\"y\\": 008"]', ['x: 007, "y": 008']),
        ('{"a": "tab\there"}', {"a": "tab\there"}), ("[01, 002]", [1, 2]),
    ],
)  # fmt: skip
def test_ccmixter_almost_json(text, value):
    assert decode(text.encode()) == value


def test_ccmixter_what_is_no_json_at_all():
    with pytest.raises(ValueError, match="Expecting"):
        decode(b"<html>busy</html>")


# Metropolitan Museum


def met(url, params):
    return (
        {"objectIDs": list(range(250, 0, -1))}
        if url == OBJECTS
        else {"objectID": int(url.rpartition("/")[2]), "isPublicDomain": False}
    )


def test_the_met_list_is_read_in_pages_and_again_after_a_stop():
    api = client(met)
    window = day_window(date(2024, 2, 10))
    items, pages = walk(MetropolitanMuseum(), api, window=window)
    assert [i["objectID"] for i in items] == list(range(1, 251))
    assert [len(p.items) for p in pages] == [100, 100, 50]
    assert [u for u, _ in api._transport.requests].count(OBJECTS) == 1
    resumed = MetropolitanMuseum().pages.fetch(api, pages[0].next, {"metadataDate": "2024-02-10"})
    assert [i["objectID"] for i in resumed.items] == list(range(101, 201))


def test_the_met_answers_nothing_for_some_days():
    _, pages = walk(
        MetropolitanMuseum(),
        client(lambda *_: {"total": 0, "objectIDs": None}),
        window=day_window(date(2024, 2, 10)),
    )
    assert [p.items for p in pages] == [[]]


# PhyloPic: the site is built anew while it is pulled


def phylopic(builds):
    """builds: the builds that the site says it has, in turn; the last one is true from then on."""

    def answer(url, params):
        if "build" not in params:
            return {
                "build": builds.pop(0) if len(builds) > 1 else builds[0],
                "totalPages": 2,
                "totalItems": 4,
            }
        if int(params["build"]) != builds[0]:
            return 410, {"errors": ["built anew"]}
        page = int(params["page"])
        return {"_embedded": {"items": [silhouette(n, builds[0]) for n in (2 * page, 2 * page + 1)]}}

    return answer


def silhouette(n, build):
    links = {
        "license": "https://creativecommons.org/publicdomain/zero/1.0/",
        "sourceFile": f"https://images.phylopic.org/{n}.svg",
    }
    return {
        "uuid": f"{n}",
        "_links": {
            "self": {"href": f"/images/{n}?build={build}"},
            **{k: {"href": v} for k, v in links.items()},
        },
    }


def pull(provider, api, folder, checkpoint=None, **more):
    parts = Parts(UPath(folder), provider.name, datetime(2024, 2, 10, tzinfo=UTC), None)
    return Pull(provider, api, parts, run_id="test", checkpoint=checkpoint, **more).run()


def test_phylopic_begins_again_with_a_new_build_and_writes_nothing_twice(tmp_path):
    seen, builds = [], [900]

    def rebuilt(url, params):
        seen.append(params)
        if params.get("page") == "1" and params["build"] == "900":
            builds[0] = 901
        return phylopic(builds)(url, params)

    manifest = pull(PhyloPic(), client(rebuilt), tmp_path)
    assert manifest.counts["image"].written == 4
    assert manifest.counts["image"].skipped == {SEEN: 2}
    assert [(p.get("build"), p.get("page")) for p in seen] == [
        (None, None), ("900", "0"), ("900", "1"), (None, None), ("901", "0"), ("901", "1"),
    ]  # fmt: skip


def test_phylopic_what_an_earlier_try_wrote_is_known_after_a_kill(tmp_path):
    checkpoint, builds = MemoryCheckpoint(), [900]
    with pytest.raises(Exception, match="asked to stop"):
        pull(PhyloPic(), client(phylopic(builds)), tmp_path, checkpoint, should_stop=lambda: True)
    builds[0] = 901
    manifest = pull(PhyloPic(), client(phylopic(builds)), tmp_path, checkpoint)
    assert manifest.counts["image"].written == 4
    assert manifest.counts["image"].skipped == {SEEN: 2}


def test_phylopic_a_wrong_number_of_pages(tmp_path):
    """A build that counts a million pages is not asked for each of them once they are empty."""
    seen = []

    def wrong(url, params):
        seen.append(params)
        if "build" not in params:
            return {"build": 900, "totalPages": 1_000_000, "totalItems": 4}
        return phylopic([900])(url, params) if int(params["page"]) < 2 else {"_embedded": {"items": []}}

    with pytest.raises(Retry, match="page 2 of build 900 is empty, but it should have 1,000,000 pages"):
        pull(PhyloPic(), client(wrong), tmp_path)
    assert len(seen) == 4


# Science Museum


def test_science_museum_year_ranges():
    ranges = list(year_ranges(1933))
    assert ranges[:4] == [(0, 200), (200, 1500), (1500, 1750), (1750, 1775)]
    assert ranges[-3:] == [(1915, 1925), (1925, 1930), (1930, 1933)]
    assert len(ranges) == 18
    assert all(a[1] == b[0] for a, b in pairwise(ranges))


def crowded(url, params):
    """Objects of each year fill ten pages; asking for a page past the limit is an error, as there."""
    start, end, page = int(params["date[from]"]), int(params["date[to]"]), int(params["page[number]"])
    if page > LAST_PAGE:
        return 400, {"errors": [{"title": "page[number] is too large"}]}
    last = page + 1 >= 10 * (end - start)
    return {
        "data": [{"id": f"{start + page // 10}-{page % 10}"}],
        "links": {"next": None if last else "more"},
    }


def test_science_museum_halves_a_range_that_is_not_given_out_whole():
    items, pages = walk(ScienceMuseum(), client(crowded), {"date[from]": 1900, "date[to]": 1916})
    assert {i["id"] for i in items} == {f"{year}-{page}" for year in range(1900, 1916) for page in range(10)}
    assert not any(p.left_out for p in pages)


def test_science_museum_says_what_a_single_year_leaves_out(tmp_path):
    def answer(url, params):
        return {
            "data": [{"id": f"{params['date[from]']}/{params['page[number]']}"}],
            "links": {"next": "more"},
        }

    _, pages = walk(ScienceMuseum(), client(answer), {"date[from]": 1999, "date[to]": 2000})
    assert len(pages) == LAST_PAGE + 1
    assert "the years 1999 to 2000 hold more than the 51 pages" in pages[-1].left_out


# Smithsonian


def test_smithsonian_unit_codes_that_changed_stop_the_run():
    def answer(*codes):
        return client(lambda *_: {"response": {"terms": list(codes)}})

    check_units(answer(*SOURCES))
    with pytest.raises(Fatal, match=r"add `NEW`; delete `ACM`"):
        check_units(answer("NEW", *(c for c in SOURCES if c != "ACM")))
    with pytest.raises(Retry, match="the list of unit codes is empty"):
        check_units(answer())


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
def test_smithsonian_creators(names, indexed, expected):
    content = {
        "freetext": {"name": [{"label": a, "content": b} for a, b in names]},
        "indexedStructured": {"name": indexed},
    }
    assert creator(content) == expected


# Finna


def test_finna_windows_do_not_overlap():
    first = filters("0/SA-kuva/", day_window(date(2024, 2, 10)))
    assert first[2] == 'last_indexed:"[2024-02-10T00:00:00Z TO 2024-02-10T23:59:59Z]"'


def test_finna_a_second_image_has_an_identifier_of_its_own():
    raw = {
        "id": "x.1",
        "imageRights": {"link": "http://creativecommons.org/licenses/by/4.0/deed.fi"},
        "images": ["/a?index=0", "", "/a?index=2"],
    }
    first, empty, third = FinnishMuseums().record(raw)
    assert (first.foreign_identifier, third.foreign_identifier) == ("x.1", "x.1#2")
    assert empty == Skip("no image")
