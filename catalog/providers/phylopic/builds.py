"""Reads the pages of one build of PhyloPic's data, and starts over when there is a newer one."""

from catalog.provider_api import (
    Client,
    Cursor,
    HttpStatus,
    Json,
    Page,
    Paginator,
    Params,
    UnexpectedResponse,
    count_at,
    items_at,
)

IMAGES = "https://api.phylopic.org/images"


class Builds(Paginator):
    """Pages of one build, counted from 0; the list resource names the current build and its size."""

    url = IMAGES
    own_params = ("build", "page")

    def start(self, params: Params) -> Cursor:
        return {"page": int(params.get("page", 0))}

    def fetch(self, client: Client, cursor: Cursor, params: Params) -> Page:
        at = cursor if "build" in cursor else {**cursor, **self._build(client)}
        try:
            return self._page(client, at, params)
        except HttpStatus as error:
            # The server does not have the build yet, or no longer.
            if not error.is_gone or (newer := self._build(client))["build"] == at["build"]:
                raise
        page = self._page(client, {"page": 0, **newer}, params)
        page.restarted = True
        return page

    @staticmethod
    def _build(client: Client) -> dict[str, int]:
        def check(body: Json) -> None:
            count_at(body, "build")
            if count_at(body, "totalItems") and not count_at(body, "totalPages"):
                raise UnexpectedResponse("the list has items but no pages")

        body = client.get_json(IMAGES, check=check)
        names = {"build": "build", "pages": "totalPages", "total": "totalItems"}
        return {key: count_at(body, path) for key, path in names.items()}

    @staticmethod
    def _page(client: Client, at: Cursor, params: Params) -> Page:
        page, build, pages = at["page"], at["build"], at["pages"]
        if page >= pages:
            return Page([], total=at["total"])

        def check(body: Json) -> None:
            if (given := count_at(body, "build")) != build:
                raise UnexpectedResponse(f"build {build} was requested, but the response is of build {given}")
            if not items_at(body, "_embedded.items"):
                raise UnexpectedResponse(
                    f"page {page} of build {build} is empty, but it should have {pages:,} pages"
                )

        body = client.get_json(IMAGES, {**params, "build": build, "page": page}, check=check)
        following = {**at, "page": page + 1} if page + 1 < pages else None
        return Page(items_at(body, "_embedded.items"), following, at["total"])
