"""The Smithsonian's search: checks of responses, pages of rows, and detection of new museums."""

import logging

from catalog.provider_api import (
    Client,
    Counted,
    Json,
    UnexpectedResponse,
    describe,
    dig,
    items_at,
    request_count,
)
from catalog.providers.smithsonian.units import SOURCES

log = logging.getLogger(__name__)
API = "https://api.si.edu/openaccess/api/v1.0"
IMAGES = "online_media_type:Images"
WANTED = f"{IMAGES} AND media_usage:CC0"
TOTAL = "response.rowCount"
ROWS = 1000  # the maximum of the API


def check(body: Json) -> None:
    """Raise UnexpectedResponse if a status is given and not 200, or `responseCode` is negative.

    Other values of `responseCode` are reported to have no meaning.
    """
    status, code = str(dig(body, "status")), str(dig(body, "responseCode"))
    if status not in ("200", "None") or code.startswith("-"):
        said = dig(body, "response", "message") or dig(body, "response", "error")
        raise UnexpectedResponse(
            f"status {status[:40]}, code {code[:40]}: {str(said)[:200]}; {describe(body)}"
        )


class Rows(Counted):
    """Pages of rows with a common hash prefix."""

    def __init__(self) -> None:
        super().__init__(
            f"{API}/search",
            items="response.rows",
            param="start",
            first=0,
            step=ROWS,
            total=TOTAL,
            check=check,
        )


def count_of_all(client: Client) -> int:
    """Return the number of wanted items, whatever their hashes are."""
    params = {"q": WANTED, "rows": 1, "start": 0}
    return request_count(client, f"{API}/search", params, TOTAL, check=check)


def new_unit_codes(client: Client) -> list[str]:
    """Return the unit codes of unknown museums; known codes that the API no longer lists are logged.

    Raises:
        Retry: The API lists no codes at all.
    """

    def named(body: Json) -> None:
        check(body)
        if not items_at(body, "response.terms"):
            raise UnexpectedResponse(f"the list of unit codes is empty; {describe(body)}")

    body = client.get_json(f"{API}/terms/unit_code", {"q": IMAGES}, check=named)
    listed = {str(code) for code in items_at(body, "response.terms")}
    if unlisted := sorted(SOURCES.keys() - listed):
        log.info("Unit codes that the Smithsonian does not list: %s.", ", ".join(unlisted))
    return sorted(listed - SOURCES.keys())
