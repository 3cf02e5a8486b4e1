"""`./just screenshot`: photograph the dashboard of the running stack for the README.

Run it after `./just demo` in a fresh clone. A file beside the picture records what the page was made of, so
that a test can tell when the picture is out of date.
"""

import hashlib
from pathlib import Path

from playwright.sync_api import sync_playwright

from catalog.cli import program
from catalog.core.errors import CatalogError
from catalog.local.chromium import ADVICE, ARGUMENTS, NEEDED, chromium
from catalog.local.stack import ROOT, Stack

PICTURE = ROOT / "docs" / "dashboard.png"
RECORD = PICTURE.with_suffix(".sha256")
WIDTH, HEIGHT = 1280, 720
_DASHBOARD = ROOT / "catalog" / "plugins" / "dashboard"
_SOURCES = ("templates/base.html", "templates/health.html", "templates/macros.html", "static/catalog.css")


def sources_digest() -> str:
    """Return a digest of the sources of the page in the picture."""
    digest = hashlib.sha256()
    for name in _SOURCES:
        digest.update((_DASHBOARD / name).read_bytes())
    return digest.hexdigest()


def main() -> None:
    """Photograph the dashboard within Airflow's UI, and record what the page was made of."""
    stack, path = Stack(), chromium()
    if not stack.running():
        raise CatalogError("the stack is not running; start it with ./just demo.")
    if path is None:
        raise CatalogError(f"{NEEDED}. {ADVICE}")
    photograph(path, stack.ui, PICTURE)
    RECORD.write_text(f"{sources_digest()}\n", encoding="ascii")
    program.out.print(f"written: {PICTURE.relative_to(ROOT)} and {RECORD.relative_to(ROOT)}")


def photograph(path: str, address: str, picture: Path) -> None:
    """Write a picture of the dashboard's first page.

    Args:
        path: Path of the browser.
        address: Address of Airflow's UI, which needs no login.
        picture: The PNG file.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*ARGUMENTS])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.goto(f"{address}/plugin/catalog_dashboard")
        page.frame_locator("iframe").get_by_role("heading", name="Newest loads").wait_for()
        page.screenshot(path=picture)
        browser.close()


if __name__ == "__main__":
    program.run(main, "screenshot")
