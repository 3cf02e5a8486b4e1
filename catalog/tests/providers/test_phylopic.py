"""PhyloPic: builds of its data that change during a pull, who is credited, addresses that stay the same."""

import pytest

from catalog.core.errors import HttpStatus, Interrupted, Retry
from catalog.ingestion.reasons import SEEN
from catalog.ingestion.records import Image
from catalog.ingestion.state import MemoryCheckpoint
from catalog.providers.phylopic.builds import IMAGES
from catalog.providers.phylopic.provider import PhyloPic
from catalog.tests.providers.mapped import record_of
from catalog.tests.providers.site import Pulled, Reply, Site
from catalog.tests.values import present

TYPE = "application/vnd.phylopic.v2+json"


def silhouette(n, build=900, links=None, **over):
    found = {
        "self": {"href": f"/images/{n}?build={build}", "title": f"Madeupia {n}"},
        "license": {"href": "https://creativecommons.org/licenses/by/4.0/"},
        "sourceFile": {"href": f"https://images.phylopic.org/{n}.svg", "sizes": "512x256"},
        "contributor": {"href": f"/contributors/1?build={build}", "title": "Mia Maker"},
    }
    return {"uuid": f"{n}", "attribution": None, "_links": {**found, **(links or {})}, **over}


def phylopic(builds, pages=2, items=4, image=silhouette, refused=410):
    """builds: the builds that the site says it has, in turn; the last one is true from then on."""

    def answer(method, url, params):
        assert url == IMAGES
        if "build" not in params:
            build = builds.pop(0) if len(builds) > 1 else builds[0]
            return Reply(status=307, location=f"/images?build={build}")
        if int(params["build"]) != builds[0]:
            return refused, {"errors": [{"type": "UNACCEPTABLE_BUILD"}]}
        if "page" not in params:
            return {"build": builds[0], "itemsPerPage": 2, "totalPages": pages, "totalItems": items}
        page = int(params["page"])
        listed = [image(n, builds[0]) for n in (2 * page, 2 * page + 1)] if page < 2 else []
        return {"build": builds[0], "index": page, "_embedded": {"items": listed}}

    return Site(answer)


def asked(site):
    """(build, page) of the requests, less those that are redirected."""
    return [(p["build"], p.get("page")) for _, _, p, _ in site.asked if "build" in p]


def test_the_type_is_asked_for_that_the_api_accepts(tmp_path):
    honest = phylopic([900])

    def particular(method, url, params):
        accepted = site.asked[-1][3]["Accept"]
        return honest.answer(method, url, params) if accepted == TYPE else (406, {"errors": []})

    site = Site(particular)
    assert Pulled(PhyloPic(), site, tmp_path).whole


@pytest.mark.parametrize("refused", [410, 404])
def test_a_newer_build_is_read_from_its_beginning_and_nothing_is_written_twice(refused, tmp_path):
    """410: the build is outdated. 404: it is not known yet to the server that answers."""
    builds = [900]
    honest = phylopic(builds, refused=refused)

    def rebuilt(method, url, params):
        if params.get("page") == "1" and params["build"] == "900":
            builds[0] = 901
        return honest.answer(method, url, params)

    site = Site(rebuilt)
    pulled = Pulled(PhyloPic(), site, tmp_path)
    assert pulled.whole
    assert pulled.counts.written == 4
    assert pulled.counts.skipped == {SEEN: 2}
    assert asked(site) == [
        ("900", None),
        ("900", "0"),
        ("900", "1"),
        ("901", None),
        ("901", "0"),
        ("901", "1"),
    ]


def test_what_was_read_of_the_build_before_does_not_count_for_the_newer_one(tmp_path):
    """Half of the newer build's images, after half of the older one's, are not all of them."""
    builds = [900]
    honest = phylopic(builds)

    def rebuilt(method, url, params):
        if params.get("page") == "1" and params["build"] == "900":
            builds[0] = 901
        found = honest.answer(method, url, params)
        if params.get("build") == "901" and "page" not in params:
            return {**found, "totalPages": 1}
        return found

    pulled = Pulled(PhyloPic(), Site(rebuilt), tmp_path)
    assert "2 of 4 announced items came" in present(pulled.error)


def test_what_an_earlier_try_wrote_is_known_after_a_kill(tmp_path):
    checkpoint, builds = MemoryCheckpoint(), [900]
    with pytest.raises(Interrupted, match="asked to stop"):
        Pulled(PhyloPic(), phylopic(builds), tmp_path, checkpoint=checkpoint, should_stop=lambda: True)
    builds[0] = 901
    pulled = Pulled(PhyloPic(), phylopic(builds), tmp_path, checkpoint=checkpoint)
    assert pulled.counts.written == 4
    assert pulled.counts.skipped == {SEEN: 2}


def test_a_build_that_is_refused_although_it_is_the_newest_is_an_error(tmp_path):
    honest = phylopic([900])

    def answer(method, url, params):
        return (410, {"errors": []}) if "page" in params else honest.answer(method, url, params)

    with pytest.raises(HttpStatus, match="status 410"):
        Pulled(PhyloPic(), Site(answer), tmp_path)


def test_a_wrong_number_of_pages(tmp_path):
    """A build that counts a million pages is not asked for each of them once they are empty."""
    site = phylopic([900], pages=1_000_000)
    with pytest.raises(Retry, match="page 2 of build 900 is empty, but it should have 1,000,000 pages"):
        Pulled(PhyloPic(), site, tmp_path)
    assert len(asked(site)) == 3 + 1 + PhyloPic.retries


def test_too_small_a_number_of_pages_is_not_whole(tmp_path):
    pulled = Pulled(PhyloPic(), phylopic([900], pages=1), tmp_path)
    assert "2 of 4 announced items came" in present(pulled.error)


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"build": 899}, "build 900 was requested, but the response is of build 899"),
        ({"build": None}, "`build` should be a number"),
        ({"_embedded": {}}, "`_embedded.items` is missing"),
        ({"_embedded": {"items": None}}, "`_embedded.items` is null"),
    ],
)
def test_a_page_that_is_none_of_the_build(changed, error, tmp_path):
    honest = phylopic([900])

    def answer(method, url, params):
        found = honest.answer(method, url, params)
        return {**found, **changed} if "page" in params else found

    with pytest.raises(Retry, match=error):
        Pulled(PhyloPic(), Site(answer), tmp_path)


@pytest.mark.parametrize("gone", ["build", "totalPages", "totalItems"])
def test_a_list_that_does_not_say_what_it_holds(gone, tmp_path):
    honest = phylopic([900])

    def answer(method, url, params):
        found = honest.answer(method, url, params)
        return {k: v for k, v in found.items() if k != gone} if isinstance(found, dict) else found

    with pytest.raises(Retry, match=f"`{gone}` is missing; "):
        Pulled(PhyloPic(), Site(answer), tmp_path)


def test_addresses_stay_the_same_from_build_to_build():
    first, second = (record_of(Image, PhyloPic().record(silhouette(1, build))) for build in (900, 901))
    assert first == second
    assert first.foreign_landing_url == "https://www.phylopic.org/images/1"
    assert first.creator_url == "https://www.phylopic.org/contributors/1"


@pytest.mark.parametrize(
    ("attribution", "creator", "page", "meta"),
    [
        (None, "Mia Maker", "https://www.phylopic.org/contributors/1", None),
        ("", "Mia Maker", "https://www.phylopic.org/contributors/1", None),
        ("Mia Maker", "Mia Maker", "https://www.phylopic.org/contributors/1", None),
        ("Olaf Other", "Olaf Other", None, {"contributor": "Mia Maker"}),
    ],
)
def test_who_is_credited(attribution, creator, page, meta):
    """The page is the uploader's, so it is not that of another person who is to be credited."""
    record = record_of(Image, PhyloPic().record(silhouette(1, attribution=attribution)))
    assert (record.creator, record.creator_url, record.meta_data) == (creator, page, meta)


def test_names_of_taxa_are_tags_and_the_smallest_raster_file_is_the_thumbnail():
    files = [{"href": f"https://images.phylopic.org/{w}.png", "sizes": f"{w}x9"} for w in (1536, 512, 1024)]
    nodes = [{"title": "Canis latrans Say, 1823"}, {"title": None}, {"title": "Canis"}, "Canidae"]
    record = record_of(Image, PhyloPic().record(silhouette(1, links={"nodes": nodes, "rasterFiles": files})))
    assert record.tags == ["Canis latrans Say, 1823", "Canis"]
    assert record.thumbnail == "https://images.phylopic.org/512.png"
