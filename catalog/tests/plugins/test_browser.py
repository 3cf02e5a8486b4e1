"""The dashboard in a real browser: finding a failure, exploring, accessibility, and nothing that runs.

They need a Chromium (Debian's package, or the path in CHROMIUM), and are skipped without, which the summary
of the tests says.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from catalog.local.chromium import ARGUMENTS, NEEDED, chromium
from catalog.tests.plugins.conftest import RECORD, SCRIPT
from catalog.tests.plugins.test_pages import PAGES
from catalog.tests.plugins.website import PASSWORD, USER, Site

CHROMIUM = chromium()
pytestmark = [
    pytest.mark.database,
    pytest.mark.airflow,
    pytest.mark.enable_socket,
    pytest.mark.skipif(not CHROMIUM, reason=NEEDED),
]
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS])
        yield browser
        browser.close()


def visit(browser: Browser, site: Site, size: str = "desktop", login: bool = True, **options: Any) -> Page:
    """Open a window of a size, with or without the user's login."""
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, base_url=site.base, **options)
    context.set_default_timeout(30_000)
    if login:
        context.add_cookies([{"name": "_token", "value": site.token, "url": site.base}])
    return context.new_page()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_no_violation(browser, site, path, scheme):
    page = visit(browser, site, color_scheme=scheme)
    page.goto(f"/catalog{path}")
    found = Axe().run(page).response
    assert len(found["passes"]) > 10
    violations = [(one["id"], [node["html"][:120] for node in one["nodes"]]) for one in found["violations"]]
    assert violations == []
    page.context.close()


def test_from_the_login_to_the_log_and_the_runbook_in_two_clicks(browser, site):
    """In Airflow's UI, whose frame may not navigate: links to Airflow's pages lead there nevertheless."""
    page = visit(browser, site, login=False)
    page.goto("/plugin/catalog_dashboard")
    page.get_by_label("Username").fill(USER)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/plugin/catalog_dashboard")
    dashboard = page.frame_locator("iframe")
    finding = dashboard.get_by_role("listitem").filter(has_text="9 of 1,000 announced items came")
    finding.get_by_role("link", name="Runbook").click()
    row = dashboard.get_by_role("row").filter(has=dashboard.locator("#not-whole"))
    assert "The API returned less than it announced" in row.inner_text()
    dashboard.get_by_role("link", name="Health").click()
    finding.get_by_role("link", name="Log of pull_image_data").click()
    page.wait_for_url("**/dags/stocksnap_workflow/runs/failing/tasks/pull_image_data**")
    page.context.close()


def test_a_wrong_password_shows_nothing(browser, site):
    page = visit(browser, site, login=False)
    page.goto("/catalog/explore")
    page.get_by_label("Username").fill(USER)
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_text("Invalid credentials").wait_for()
    page.goto("/catalog/explore")
    assert "/auth/login" in page.url
    page.context.close()


def test_from_a_search_to_the_reason_why_a_tag_is_not_searched(browser, site):
    page = visit(browser, site)
    page.goto("/catalog/explore")
    page.get_by_label("Search", exact=True).fill("harbor")
    page.get_by_label("Source").select_option("flickr")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name=SCRIPT).click()
    page.wait_for_url(f"**/records/image/{RECORD}")
    assert page.get_by_role("row").filter(has_text="dog").inner_text().split("\t")[3:] == ["no", "accuracy"]
    assert page.get_by_role("row").filter(has_text="harbor").inner_text().split("\t")[3] == "yes"
    page.context.close()


def test_a_title_that_is_a_script_is_only_shown(browser, site):
    page = visit(browser, site)
    page.goto(f"/catalog/records/image/{RECORD}")
    assert page.get_by_role("heading", level=1).inner_text() == SCRIPT
    assert page.title() == f"{SCRIPT} · Catalog"
    page.context.close()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("path", PAGES)
def test_without_scripts_and_on_a_phone_every_page_is_readable(browser, site, path, size):
    page = visit(browser, site, size, java_script_enabled=False)
    requested = []
    page.on("request", lambda request: requested.append(request.url))
    page.goto(f"/catalog{path}")
    assert page.get_by_role("heading", level=1).inner_text()
    assert page.get_by_role("link", name="Providers", exact=True).is_visible()
    assert {url for url in requested if not url.startswith(site.base)} == set()
    page.context.close()
    scripted = visit(browser, site, size)
    scripted.goto(f"/catalog{path}")
    assert scripted.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]
    scripted.context.close()


def test_everything_can_be_reached_by_keyboard(browser, site):
    page = visit(browser, site)
    page.goto("/catalog/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Log of pull_image_data"
    page.context.close()
