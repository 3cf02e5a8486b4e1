"""Europeana: images under Creative Commons licenses from museums, libraries and archives, changed on one day.

The search returns items whose record changed on the UTC day, or in the six hours before it, because the index
shows them late; so changes are read without pulling everything again. Each item is then requested separately,
because only its own record holds the type and size of its file.
https://europeana.atlassian.net/wiki/spaces/EF/pages/2385739812/Search+API+Documentation
"""

import re
from datetime import date, timedelta

from catalog.provider_api import (
    ApiKey,
    Client,
    HttpStatus,
    Image,
    Json,
    Provider,
    Rate,
    Raw,
    RecordResult,
    RoundParams,
    Tokens,
    UnexpectedResponse,
    Window,
    compact,
    describe,
    dig,
    items_at,
    license_from_url,
    missing,
    without_param,
)
from catalog.providers.europeana.labels import concepts, creator

API = "https://api.europeana.eu/record/v2"
SOURCES = {"Wellcome Collection": "wellcome_collection"}  # data provider → source
UNKNOWN = re.compile(
    r"(?i)^(?!.*\bkey\b).*(not found|not exist|no such|(invalid|unknown) record|deleted|removed)"
)


def check(body: Json) -> None:
    if dig(body, "success") is not True:
        said = str(dig(body, "error"))[:200]
        raise UnexpectedResponse(f"the search reports no success: {said}; {describe(body)}")


def described(body: Json) -> None:
    """Check that the response about an item describes its files, or reports that there is no such record.

    Without an error, `success: false` has no other meaning.
    """
    if dig(body, "success") is not False:
        items_at(body, "object.aggregations")
    elif (said := f"{dig(body, 'error') or dig(body, 'message') or ''}") and not UNKNOWN.search(said):
        raise UnexpectedResponse(f"the record is not described: {said[:200]}; {describe(body)}")


class Europeana(Provider):
    name = "europeana"
    catalog_names = {"image": "europeana"}
    schedule = "@daily"
    dated = True
    overlap = timedelta(hours=6)  # until data sets are in the search index
    start_date = date(2022, 10, 27)
    rate = Rate(per_second=2)
    pull_timeout = timedelta(days=3)
    key = ApiKey("API_KEY_EUROPEANA", "X-Api-Key", "https://pro.europeana.eu/pages/get-api", header=True)
    params = {
        "profile": "rich",
        "reusability": ["open", "restricted"],
        "sort": "europeana_id desc",
        "rows": 100,
        "media": "true",
        "qf": ["TYPE:IMAGE", "provider_aggregation_edm_isShownBy:*"],
    }
    pages = Tokens(
        f"{API}/search.json",
        items="items",
        param="cursor",
        following="nextCursor",
        first="*",
        total="totalResults",
        check=check,
    )

    def rounds(self, client: Client, window: Window | None) -> list[RoundParams]:
        assert window is not None
        start, end = f"{window.start:%Y-%m-%dT%H:%M:%SZ}", f"{window.end:%Y-%m-%dT%H:%M:%SZ}"
        return [{"query": f"timestamp_update:[{start} TO {end}}}"}]  # `}` excludes the end

    def detail(self, raw: Raw, client: Client) -> Raw:
        """Add the record's description of the file; an item without a record keeps the search's data."""
        if not raw.get("id") or not image_url(raw):
            return raw
        try:
            item = client.get_json(f"{API}{raw['id']}.json", check=described, may_fail=True)
        except HttpStatus as error:
            if not error.is_gone:
                raise
            return raw
        resources = dig(item, "object", "aggregations", 0, "webResources")
        files = [r for r in resources if r.get("about") == image_url(raw)] if resources else []
        return {**raw, "file": files[0] if files else {}}

    def record(self, raw: Raw) -> RecordResult:
        # The query of `guid` contains the API key.
        landing = dig(raw, "edmIsShownAt", 0) or str(raw.get("guid") or "").partition("?")[0]
        url, title, preview = image_url(raw), dig(raw, "title", 0), dig(raw, "edmPreview", 0)
        license_ = license_from_url(
            next((r for r in raw.get("rights") or [] if "creativecommons" in r), None)
        )
        if skip := missing(
            identifier=raw.get("id"), landing_url=landing, image=url, title=title, license=license_
        ):
            return skip
        file = raw.get("file") or {}
        sized = file.get("ebucoreWidth") and file.get("ebucoreHeight")
        return Image(
            foreign_identifier=raw["id"],
            foreign_landing_url=landing,
            url=url,
            thumbnail=without_param(preview, "wskey") if isinstance(preview, str) else None,
            license=license_,
            title=title,
            creator=creator(raw),
            width=file["ebucoreWidth"] if sized else None,
            height=file["ebucoreHeight"] if sized else None,
            filesize=file.get("ebucoreFileByteSize"),
            filetype=file.get("ebucoreHasMimeType"),
            source=next((SOURCES[name] for name in raw.get("dataProvider") or [] if name in SOURCES), None),
            tags=concepts(raw),
            meta_data={**compact(raw, "country", "dataProvider"), "description": description(raw)},
        )


def image_url(item: Raw) -> str | None:
    """Return the URL of the image; links to Dropbox are pages, not images."""
    url = dig(item, "edmIsShownBy", 0)
    return url if isinstance(url, str) and "dropbox.com" not in url else None


def description(item: Raw) -> str:
    paths = (("dcDescriptionLangAware", "en", 0), ("dcDescriptionLangAware", "def", 0), ("dcDescription", 0))
    return str(next((text for path in paths if (text := dig(item, *path))), "")).strip()
