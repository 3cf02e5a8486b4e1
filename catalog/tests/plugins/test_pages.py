"""All pages, from real databases, a real search engine and a real API server."""

import re

import pytest
import requests

from catalog.ingestion.registry import provider_names
from catalog.tests.plugins.conftest import RECORD, SCRIPT

pytestmark = [pytest.mark.database, pytest.mark.airflow, pytest.mark.enable_socket]
PAGES = (
    "/",
    "/providers",
    "/providers/stocksnap",
    "/providers/jamendo",
    "/explore",
    "/explore?q=bridge&filtered=true",
    f"/records/image/{RECORD}",
    "/refresh",
    "/refresh?media=audio",
    "/refresh/policy",
    "/runbook",
)


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_complete_and_nothing_of_a_record_can_run(site, path):
    answer = site.get(path)
    assert answer.status_code == 200
    assert "Not shown" not in answer.text
    assert "<script>document" not in answer.text
    assert not re.search(r"style=|onclick|javascript:", answer.text)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert policy.endswith("img-src 'self'")


@pytest.mark.parametrize("path", PAGES)
def test_every_link_into_the_dashboard_leads_to_a_page(site, path):
    html = site.get(path).text
    links = set(re.findall(r'href="/catalog([^"#]*)', html))
    assert links
    assert not re.search(r'href="(?!/|#|https?://)', html)
    for link in links:
        assert site.get(link.replace("&amp;", "&")).status_code == 200, link


def test_health_names_what_is_wrong_with_its_log_and_its_row_of_the_runbook(site):
    html = site.get("/").text
    assert "2 things need you" in html
    assert "is not whole: 9 of 1,000 announced items came" in html
    assert "/dags/stocksnap_workflow/runs/failing/tasks/pull_image_data" in html
    assert "its schedule is @daily" in html
    anchors = set(re.findall(r"runbook#([a-z-]+)", html))
    assert anchors == {"not-whole", "late"}
    runbook = site.get("/runbook").text
    assert all(f'id="{anchor}"' in runbook for anchor in anchors)


def test_health_has_the_newest_version_of_the_dataset(site):
    text = " ".join(re.sub(r"<[^>]*>", "", site.get("/").text).split())
    assert "89 audio and 1,234,567 image records in 12 files, 3.0 GB below s3://published/dataset" in text


def test_the_list_of_providers_begins_with_those_that_need_attention(site):
    html = site.get("/providers").text
    names = re.findall(r'<th scope="row"><a href="/catalog/providers/([a-z_]+)"', html)
    assert names[:2] == ["flickr", "stocksnap"]
    assert set(names) == set(provider_names())
    assert "9 of 1,000" in html
    cells = dict(
        re.findall(r'/providers/([a-z_]+)">.*?data-label="Gone" class="n">(.*?)</td>', html, re.DOTALL)
    )
    assert cells["stocksnap"] == '4.0 % <span class="dim">2.9 % to 5.4 %</span>'
    assert cells["jamendo"] == "\N{EN DASH}"  # not known, which is not 0


def test_a_provider_has_its_loads_reasons_and_settings(site):
    html = site.get("/providers/stocksnap").text
    assert "/dags/stocksnap_workflow/runs/failing" in html
    assert SCRIPT.replace("<", "&lt;").replace(">", "&gt;").replace("'", "&#39;") in html
    assert "4.0 %</b>" in html
    assert "(2.9 % to 5.4 %, from 1,000 links), checked" in html
    assert "7 unclear" in html
    jamendo = site.get("/providers/jamendo").text
    assert "of files gone" not in jamendo
    assert "API_KEY_JAMENDO" in jamendo
    assert "not set" in jamendo


def test_a_record_shows_why_a_tag_is_not_searched(site):
    html = site.get(f"/records/image/{RECORD}").text
    row = next(part for part in html.split("<tr>") if "dog" in part)
    assert "0.10" in row
    assert "accuracy" in row


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/providers/nobody", 404),
        ("/providers/..%2fsecret", 404),
        ("/records/image/00000000-0000-0000-0000-000000000000", 404),
        ("/records/image/no-uuid", 422),
        ("/records/video/" + RECORD, 422),
        ("/explore?page=0", 422),
        ("/explore?media=video", 422),
        ("/nowhere", 404),
    ],
)
def test_a_wrong_address_is_explained(site, path, status):
    answer = site.get(path)
    assert answer.status_code == status
    assert "To the first page" in answer.text


def test_a_wrong_policy_is_explained(site):
    for policy, words in (("{", "not JSON"), ('{"denid": []}', "denid")):
        assert words in site.get("/refresh/policy", params={"policy": policy}).text


def test_a_preview_counts_what_a_policy_drops(site):
    html = site.get("/refresh/policy", params={"policy": '{"denied": ["harbor"]}'}).text
    assert re.search("[1-9][0-9,]* of 300 documents would change", html)
    assert "harbor" in html


def test_without_a_login_there_is_only_the_style(site):
    for path in PAGES:
        assert requests.get(f"{site.base}/catalog{path}", timeout=30).status_code == 401
    assert requests.get(f"{site.base}/catalog/static/catalog.css", timeout=30).status_code == 200


def test_after_the_login_comes_the_page_that_was_asked_for(site):
    answer = requests.get(
        f"{site.base}/catalog/providers/flickr?x=1",
        headers={"Accept": "text/html"},
        allow_redirects=False,
        timeout=30,
    )
    assert answer.status_code == 302
    assert answer.headers["Location"].endswith("%2Fcatalog%2Fproviders%2Fflickr%3Fx%3D1")
