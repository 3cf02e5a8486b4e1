"""Brooklyn Museum: photographs of objects in its collection under open licenses, one record an image.

A list names the objects; each one whose rights text links exactly one Creative Commons license is asked for by itself.
https://www.brooklynmuseum.org/opencollection/api
"""

from datetime import date
from typing import Any

from catalog.ingestion import (  # fmt: skip
    ApiKey,
    Client,
    Counted,
    Image,
    License,
    Mapped,
    Provider,
    Raw,
    Retry,
    Skip,
    compact,
    dig,
    license_from_url,
    links,
    missing,
)

OBJECTS = "https://www.brooklynmuseum.org/api/v2/object/"
PAGE = 35  # the most the API accepts


def check(body: Any) -> None:
    """Raises Retry when the answer reports an error of its own, such as a limit that is too large."""
    if (message := str(dig(body, "message")).lower()) != "success.":
        raise Retry(
            f"the answer reports {message!r}, code {dig(body, 'errorCode')!r}: {str(dig(body, 'data'))[:200]}"
        )


class BrooklynMuseum(Provider):
    name = "brooklyn_museum"
    strings = {"image": "brooklynmuseum"}
    start_date = date(2020, 1, 1)
    category = "digitized_artwork"
    key = ApiKey(
        "API_KEY_BROOKLYN_MUSEUM", "api_key", "https://www.brooklynmuseum.org/opencollection/api", header=True
    )
    params = {"has_images": 1, "rights_type_permissive": 1, "limit": PAGE}
    pages = Counted(OBJECTS, items="data", param="offset", first=0, step=PAGE, check=check)

    def detail(self, raw: Raw, client: Client) -> Raw:
        if not raw.get("id") or license_of(raw) is None:
            return raw
        return {**raw, "detail": dig(client.get_json(f"{OBJECTS}{raw['id']}", check=check), "data") or {}}

    def record(self, raw: Raw) -> Mapped:
        license_, detail = license_of(raw), raw.get("detail") or {}
        if not raw.get("id") or license_ is None:
            return Skip("no identifier" if not raw.get("id") else "no single Creative Commons license")
        if skip := missing(landing_url=detail.get("id"), image=detail.get("images")):
            return skip
        return [self._image(detail, image, license_) for image in detail["images"]]

    @staticmethod
    def _image(detail: Raw, image: Raw, license_: License) -> Image | Skip:
        image_id, url = image.get("id"), image.get("largest_derivative_url")
        if skip := missing(identifier=image_id, file=url):
            return skip
        derivatives = image.get("derivatives")
        listed = (
            derivatives if isinstance(derivatives, list) else []
        )  # sometimes an object, which does not tell sizes in pixels
        size: Raw = next((d for d in listed if d.get("size") == image.get("largest_derivative")), {})
        artists = detail.get("artists")
        return Image(
            foreign_identifier=image_id,
            foreign_landing_url=f"https://www.brooklynmuseum.org/opencollection/objects/{detail['id']}",
            url=url,
            license=license_,
            width=size.get("width"),
            height=size.get("height"),
            title=detail.get("title"),
            creator=next((a.get("name") for a in artists if a.get("rank") == 1), None)
            if isinstance(artists, list)
            else None,
            meta_data=compact(
                detail,
                "accession_number",
                "description",
                "medium",
                "credit_line",
                "classification",
                date="object_date",
            ),
        )


def license_of(item: Raw) -> License | None:
    """The license of the one Creative Commons link in the rights text."""
    found = [url for url in links(dig(item, "rights_type", "description")) if "creativecommons.org/" in url]
    return license_from_url(found[0]) if len(found) == 1 else None
