"""The Met's list of objects, read in pages, and what an answer about one of them must hold.

https://metmuseum.github.io/
"""

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

from catalog.core.errors import UnexpectedAnswer
from catalog.ingestion.answers import as_count, count_at, has, items_at, seen
from catalog.provider_api import Client, Cursor, Page, Paginator, Params, dig

OBJECTS = "https://collectionapi.metmuseum.org/public/collection/v1/objects"
A_PAGE = 100
MANY = 2000  # more objects than change on a day: the list reaches back far


class Objects(Paginator):
    """The list of identifiers, cut into pages.

    It is asked for once, and again by a pull that resumes after the last identifier read. An identifier that
    is no number comes with the first page, where it becomes a reject.

    A list holds what changed on a day or later. One that reaches back far holds most of the collection, so
    what is in the next day's list as well is taken out of it: that changed later, and belongs to the later
    day.
    """

    own_params = ("after",)

    def __init__(self) -> None:
        self._numbers: list[int] | None = None
        self._odd: list[Any] = []
        self._listed = 0

    def start(self, params: Params) -> Cursor:
        return {"after": int(params.get("after", 0))}

    def fetch(self, client: Client, cursor: Cursor, params: Params) -> Page:
        if self._numbers is None:
            found = changed(client, params)
            self._listed = len(found)
            self._numbers = sorted({i for i in found if type(i) is int})
            self._odd = [i for i in found if type(i) is not int]
        ahead = [i for i in self._numbers if i > cursor["after"]]
        page = ahead[:A_PAGE]
        after = {"after": page[-1]} if len(ahead) > A_PAGE else None
        first = self._odd if cursor["after"] == 0 else []
        return Page([{"objectID": i} for i in (*first, *page)], after, self._listed)

    def skip(self, cursor: Cursor) -> Cursor | None:
        ahead = [i for i in self._numbers or [] if i > cursor["after"]]
        return {"after": ahead[A_PAGE - 1]} if len(ahead) > A_PAGE else None


def changed(client: Client, params: Params) -> list[Any]:
    """The identifiers of what changed on a day, and perhaps later, if that is not much."""
    found = identifiers(client.get_json(OBJECTS, params, check=check_list))
    if len(found) <= MANY:
        return found
    following = date.fromisoformat(params["metadataDate"]) + timedelta(days=1)
    later = identifiers(
        client.get_json(OBJECTS, {**params, "metadataDate": f"{following}"}, check=check_list)
    )
    if len(later) > len(found):
        raise UnexpectedAnswer(
            f"more objects ({len(later):,}) changed since {following} than since the day before"
        )
    known = {repr(identifier) for identifier in later}
    return [identifier for identifier in found if repr(identifier) not in known]


def identifiers(body: Any) -> list[Any]:
    """The identifiers of a list; null stands for none. Raises UnexpectedAnswer when there is no list."""
    if has(body, "objectIDs") and dig(body, "objectIDs") is None:
        return []
    return items_at(body, "objectIDs")


def check_list(body: Any) -> None:
    """Raises UnexpectedAnswer when there is no list of identifiers, or `total` is not its length."""
    total, found = count_at(body, "total"), len(identifiers(body))
    if found != total:
        raise UnexpectedAnswer(f"`total` is {total:,}, but `objectIDs` holds {found:,}")


def is_object(number: int) -> Callable[[Any], None]:
    """A check that an answer is about one object, and has what says whether and where it has images.

    Args:
        number: Identifier of the object that was asked for.

    Returns:
        A function that raises UnexpectedAnswer when an answer is not about it, or lacks something.
    """

    def check(body: Any) -> None:
        if as_count(dig(body, "objectID")) != number:
            raise UnexpectedAnswer(f"`objectID` should be {number}; {seen(body)}")
        if not isinstance(dig(body, "isPublicDomain"), bool):
            raise UnexpectedAnswer(f"`isPublicDomain` of {number} is neither true nor false")
        for key in ("primaryImage", "objectURL"):
            if not has(body, key):
                raise UnexpectedAnswer(f"`{key}` of {number} is missing; {seen(body)}")
        items_at(body, "additionalImages")

    return check
