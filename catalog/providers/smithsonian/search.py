"""The Smithsonian's search: what a good answer is, pages of rows, and museums that are not known here yet."""

import logging
from typing import Any

from catalog.core.errors import UnexpectedAnswer
from catalog.ingestion.answers import items_at, seen
from catalog.provider_api import Client, Counted, Cursor, Page, Params, dig
from catalog.providers.smithsonian.units import SOURCES

log = logging.getLogger(__name__)
API = "https://api.si.edu/openaccess/api/v1.0"
IMAGES = "online_media_type:Images"
ROWS = 1000  # the most of a page
NEW = "new_unit_codes"  # a parameter of the first round that is never sent


def check(body: Any) -> None:
    """An answer that tells its status tells 200.

    A `responseCode` below 0 is a failure, too. Other values are reported to mean nothing.
    """
    status, code = str(dig(body, "status")), str(dig(body, "responseCode"))
    if status not in ("200", "None") or code.startswith("-"):
        said = dig(body, "response", "message") or dig(body, "response", "error")
        raise UnexpectedAnswer(f"status {status[:40]}, code {code[:40]}: {str(said)[:200]}; {seen(body)}")


class Rows(Counted):
    """Rows of a hash prefix. The first page of the pull tells which museums are left out."""

    def __init__(self) -> None:
        super().__init__(
            f"{API}/search",
            items="response.rows",
            param="start",
            first=0,
            step=ROWS,
            total="response.rowCount",
            check=check,
        )
        self.own_params = (self.param, NEW)  # type: ignore[misc]

    def start(self, params: Params) -> Cursor:
        return super().start(params) | ({NEW: params[NEW]} if NEW in params else {})

    def fetch(self, client: Client, cursor: Cursor, params: Params) -> Page:
        page = super().fetch(client, {self.param: cursor[self.param]}, params)
        if new := [code for code in cursor.get(NEW, ()) if code not in SOURCES]:
            codes = ", ".join(f"`{code}`" for code in new)
            page.withheld = (
                f"items of new unit codes are skipped; add {codes} to SOURCES in smithsonian/units.py"
            )
        return page


def new_unit_codes(client: Client) -> list[str]:
    """Codes of museums that are not known here. Codes that are gone are only logged: they take nothing away.

    Raises:
        Retry: The API names no codes at all.
    """

    def named(body: Any) -> None:
        check(body)
        if not items_at(body, "response.terms"):
            raise UnexpectedAnswer(f"the list of unit codes is empty; {seen(body)}")

    body = client.get_json(f"{API}/terms/unit_code", {"q": IMAGES}, check=named)
    listed = {str(code) for code in items_at(body, "response.terms")}
    if gone := sorted(SOURCES.keys() - listed):
        log.info("Unit codes that the Smithsonian does not list: %s.", ", ".join(gone))
    return sorted(listed - SOURCES.keys())
