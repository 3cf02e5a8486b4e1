"""Europeana: incomplete details of an item, names of creators, and a key that stays with the API."""

from datetime import date

import pytest

from catalog.core.errors import Retry, UnexpectedResponse
from catalog.core.secrets import Secret
from catalog.ingestion.credentials import KeyCredentials
from catalog.ingestion.windows import day_window
from catalog.providers.europeana.labels import concepts, creator
from catalog.providers.europeana.provider import Europeana, check
from catalog.tests.providers.site import Pulled, Site, client_of

KEY = "k3y-of-nobody"
SEARCH = "https://api.europeana.eu/record/v2/search.json"
DAY = day_window(date(2024, 2, 10))


def item(n, **over):
    guid = f"https://www.europeana.eu/item/1/{n}?utm_source=api&utm_medium=api&utm_campaign={KEY}"
    told = {
        "id": f"/1/{n}",
        "guid": guid,
        "link": f"https://api.europeana.eu/record/1/{n}.json?wskey={KEY}",
        "edmIsShownBy": [f"https://example.org/{n}.jpg"],
        "title": [f"T{n}"],
        "rights": ["http://creativecommons.org/licenses/by/4.0/"],
        "dataProvider": ["X"],
    }
    return {**told, **over}


def resource(url, mime="image/jpeg", **more):
    return {"about": url, "ebucoreHasMimeType": mime, **more}


def details(*resources):
    return {"success": True, "object": {"aggregations": [{"webResources": list(resources)}]}}


def europeana(items, detail):
    """A site with these items on one page; detail(n) answers for one item."""

    def answer(method, url, params):
        if url == SEARCH:
            return {"success": True, "totalResults": len(items), "items": items}
        return detail(url.rpartition("/")[2].removesuffix(".json"))

    return Site(answer)


def pull(items, detail, folder):
    return Pulled(Europeana(), europeana(items, detail), folder, window=DAY)


@pytest.mark.parametrize(
    "gone",
    [
        (404, {"success": False}),
        (410, {}),
        {"success": False, "error": None},
        {"success": False, "error": "Invalid record identifier: /1/1"},
        {"success": False, "error": "Not Found", "message": "Record was not found"},
    ],
)
def test_an_item_that_is_gone_keeps_what_the_search_told(gone, tmp_path):
    pulled = pull([item(1)], lambda n: gone, tmp_path)
    assert pulled.ids() == ["/1/1"]
    assert "width" not in pulled.rows[0]
    assert pulled.whole


@pytest.mark.parametrize(
    "fault",
    [
        (500, {}),
        (403, {"error": "no"}),
        {},
        {"success": True},
        {"success": True, "object": {"aggregations": None}},
        {"error": "busy"},
        {"success": False, "error": "Internal Server Error"},
        {"success": False, "error": "Invalid API key"},
        {"success": False, "error": "The API key was not found"},
        {"success": False, "message": "Search engine is down"},
    ],
)
def test_any_other_fault_of_the_details_costs_that_item(fault, tmp_path):
    pulled = pull([item(1), item(2)], lambda n: fault if n == "1" else details(), tmp_path)
    assert pulled.ids() == ["/1/2"]
    assert sum(pulled.counts.rejected.values()) == 1
    assert next(iter(pulled.counts.rejected)).startswith(("details failed", "details away"))


def test_details_that_fail_in_a_row_stop_the_pull(tmp_path):
    with pytest.raises(Retry, match="gave up"):
        pull([item(n) for n in range(6)], lambda n: (503, {}), tmp_path)


def test_the_type_of_the_file_decides_about_it(tmp_path):
    """The address of a PDF or of a page stands where images are; their web resource says so."""
    urls = {
        "1": "https://example.org/1.pdf",
        "2": "https://example.org/view?id=2",
        "3": "https://example.org/3.svg",
    }
    kinds = {"1": "application/pdf", "2": "text/html; charset=utf-8", "3": "image/svg+xml"}
    items = [item(n, edmIsShownBy=[url]) for n, url in urls.items()]
    pulled = pull(items, lambda n: details(resource("other"), resource(urls[n], kinds[n])), tmp_path)
    assert [(row["foreign_identifier"], row["filetype"]) for row in pulled.rows] == [("/1/3", "svg")]
    assert pulled.counts.skipped == {"file of another medium": 2}


def test_the_end_of_the_day_before_is_asked_for_again(tmp_path):
    site = europeana([item(1)], lambda n: details())
    pulled = Pulled(Europeana(), site, tmp_path, window=DAY)
    queries = {params["query"] for _, url, params, _ in site.asked if url == SEARCH}
    assert queries == {"timestamp_update:[2024-02-09T18:00:00Z TO 2024-02-11T00:00:00Z}"}
    assert pulled.manifest.window == (DAY.start, DAY.end)


@pytest.mark.parametrize("told", [{"success": False, "error": "no"}, {"success": "true"}, {}, [], None])
def test_a_search_must_report_success(told):
    with pytest.raises(UnexpectedResponse, match="no success"):
        check(told)


def test_the_key_goes_by_header_and_reaches_no_row(tmp_path):
    preview = [f"https://api.europeana.eu/thumbnail/v2/url.json?uri=x&type=IMAGE&wskey={KEY}"]
    site = europeana([item(1, edmPreview=preview)], lambda n: details())
    credentials = KeyCredentials(Europeana.key, Secret(KEY), ("api.europeana.eu",))
    api = client_of(site, Europeana(), credentials=credentials)
    api.get_json(SEARCH, {"cursor": "*"})
    _, _, params, headers = site.asked[0]
    assert headers["X-Api-Key"] == KEY
    assert params == {"cursor": "*"}
    pulled = Pulled(Europeana(), site, tmp_path, window=DAY)
    assert pulled.rows[0]["foreign_landing_url"] == "https://www.europeana.eu/item/1/1"
    assert pulled.rows[0]["thumbnail"].endswith("type=IMAGE")
    assert KEY not in str(pulled.rows)


AGENT = "http://data.europeana.eu/agent/"


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"dcCreator": ["Ada", "Bea"]}, "Ada; Bea"),
        ({"dcCreatorLangAware": {"de": ["Adé"], "en": ["Ada"]}}, "Ada"),
        (
            {
                "dcCreator": [AGENT + "2", "Cleo", AGENT + "9"],
                "edmAgent": [AGENT + "1", AGENT + "2"],
                "edmAgentLabel": [{"def": "Shown"}, {"de": "Adé", "en": "Ada"}],
            },
            "Ada; Cleo",
        ),
        ({"dcCreator": [AGENT + "1"], "edmAgentLabel": [{"de": "Adé"}, {"def": "Shown"}]}, "Adé"),
        (
            {
                "dcCreator": [AGENT + "1"],
                "edmAgent": [AGENT + "1"],
                "edmAgentLabel": [{"en": "Ada"}, {"de": "Adé"}],
            },
            "Ada",
        ),
        ({"dcCreator": [AGENT + "1"]}, None),
        ({"edmAgentLabel": [{"def": "Somebody who is shown"}]}, None),
        ({"dcCreator": "Ada", "edmAgent": {}, "edmAgentLabel": [None, 5]}, None),
    ],
)
def test_creators(told, expected):
    assert creator(told) == expected


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (
            {"edmConceptPrefLabelLangAware": {"de": ["Karten"], "en": ["Maps", "Atlases"]}},
            ["Maps", "Atlases"],
        ),
        ({"edmConceptPrefLabelLangAware": {"es": ["Teatro"]}, "edmConceptLabel": [{"def": "x"}]}, ["Teatro"]),
        ({"edmConceptLabel": [{"def": "Teatro"}, {"def": "http://x.org/1"}, {}, None]}, ["Teatro"]),
        ({"edmConceptPrefLabelLangAware": {"en": "Maps"}}, []),
        ({}, []),
    ],
)
def test_concepts_are_tags(told, expected):
    assert concepts(told) == expected
