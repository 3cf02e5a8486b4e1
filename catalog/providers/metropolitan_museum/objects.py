"""The Met's list of objects, divided into pages, and checks of its responses.

https://metmuseum.github.io/
"""

from datetime import UTC, date, datetime, timedelta

from catalog.provider_api import (
    Check,
    Client,
    Cursor,
    Json,
    Page,
    Paginator,
    Params,
    UnexpectedResponse,
    as_count,
    count_at,
    describe,
    dig,
    has,
    items_at,
)

OBJECTS = "https://collectionapi.metmuseum.org/public/collection/v1/objects"
A_PAGE = 100
MANY = 2000  # more objects than change on a day, so the list reaches far back


class Objects(Paginator):
    """The list of identifiers, divided into pages.

    The list is requested once per attempt, or twice if it is empty; a resumed pull continues after the last
    identifier. Identifiers that are not numbers are part of the first page and become rejects.

    The list of a day holds all objects that changed on that day or later. One that reaches far back holds
    most of the collection, so objects that are in the next day's list, too, are removed: they changed later
    and belong to a later day.
    """

    url = OBJECTS
    own_params = ("after",)

    def __init__(self) -> None:
        self._numbers: list[int] | None = None
        self._odd: list[Json] = []
        self._listed = 0

    def start(self, params: Params) -> Cursor:
        return {"after": int(params.get("after", 0))}

    def fetch(self, client: Client, cursor: Cursor, params: Params) -> Page:
        if not self._numbers:
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


def changed(client: Client, params: Params) -> list[Json]:
    """Return the objects that changed on a day; if they are few, also those that changed later.

    Raises:
        UnexpectedResponse: More objects changed later, or the API ignores the day: then the lists of all days
            are the same, as if nothing had changed on any.
    """
    found = identifiers(client.get_json(OBJECTS, params, check=check_list))
    if len(found) <= MANY:
        return found
    following = date.fromisoformat(params["metadataDate"]) + timedelta(days=1)
    later = identifiers(
        client.get_json(OBJECTS, {**params, "metadataDate": f"{following}"}, check=check_list)
    )
    if len(later) > len(found):
        raise UnexpectedResponse(
            f"more objects ({len(later):,}) changed since {following} than since the day before"
        )
    if len(later) == len(found):
        never = datetime.now(UTC).date() + timedelta(days=2)
        if listed := identifiers(
            client.get_json(OBJECTS, {**params, "metadataDate": f"{never}"}, check=check_list)
        ):
            raise UnexpectedResponse(
                f"`metadataDate` is ignored: {len(listed):,} objects are said to have changed since {never}"
            )
    known = {repr(identifier) for identifier in later}
    return [identifier for identifier in found if repr(identifier) not in known]


def identifiers(body: Json) -> list[Json]:
    """Return the identifiers of a list; null stands for none. Raises UnexpectedResponse without a list."""
    if has(body, "objectIDs") and dig(body, "objectIDs") is None:
        return []
    return items_at(body, "objectIDs")


def check_list(body: Json) -> None:
    """Raise UnexpectedResponse if there is no list of identifiers, or `total` is not its length."""
    total, found = count_at(body, "total"), len(identifiers(body))
    if found != total:
        raise UnexpectedResponse(f"`total` is {total:,}, but `objectIDs` holds {found:,}")


def is_object(number: int) -> Check:
    """Build a check that a response describes an object and its images.

    Args:
        number: Identifier of the requested object.

    Returns:
        A function that raises UnexpectedResponse if the response describes another object or lacks a field.
    """

    def check(body: Json) -> None:
        if as_count(dig(body, "objectID")) != number:
            raise UnexpectedResponse(f"`objectID` should be {number}; {describe(body)}")
        if not isinstance(dig(body, "isPublicDomain"), bool):
            raise UnexpectedResponse(f"`isPublicDomain` of {number} is neither true nor false")
        for key in ("primaryImage", "objectURL"):
            if not has(body, key):
                raise UnexpectedResponse(f"`{key}` of {number} is missing; {describe(body)}")
        items_at(body, "additionalImages")

    return check
