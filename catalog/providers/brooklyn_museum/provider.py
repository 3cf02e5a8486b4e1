"""Brooklyn Museum: photographs of objects in its collection under open licenses, one record per image.

A list names the objects that have images. Details are requested for each object whose rights statement links
exactly one Creative Commons license. Objects that are listed but no longer available are skipped.
https://www.brooklynmuseum.org/opencollection/api
"""

from datetime import date

from catalog.provider_api import (
    ApiKey,
    Client,
    Counted,
    HttpStatus,
    Image,
    Json,
    License,
    Provider,
    Raw,
    RecordResult,
    Skip,
    UnexpectedResponse,
    compact,
    describe,
    dig,
    license_from_url,
    links,
    missing,
    values_at,
)

OBJECTS = "https://www.brooklynmuseum.org/api/v2/object/"
PAGE = 35  # the maximum of the API
META = ("accession_number", "description", "medium", "credit_line", "classification")


def check(body: Json) -> None:
    """Raise UnexpectedResponse if the response reports an error, such as a limit that is too large."""
    if (message := str(dig(body, "message")).lower()) != "success.":
        data = str(dig(body, "data"))[:200]
        raise UnexpectedResponse(f"the response reports {message!r}, code {dig(body, 'errorCode')!r}: {data}")


class BrooklynMuseum(Provider):
    name = "brooklyn_museum"
    catalog_names = {"image": "brooklynmuseum"}
    start_date = date(2020, 1, 1)
    category = "digitized_artwork"
    deletion_reasons = ("object not found",)
    key = ApiKey(
        "API_KEY_BROOKLYN_MUSEUM", "api_key", "https://www.brooklynmuseum.org/opencollection/api", header=True
    )
    params = {"has_images": 1, "rights_type_permissive": 1, "limit": PAGE}
    pages = Counted(OBJECTS, items="data", param="offset", first=0, step=PAGE, check=check)

    def detail(self, raw: Raw, client: Client) -> Raw:
        number = raw.get("id")
        if not number or license_of(raw) is None:
            return raw

        def is_object(body: Json) -> None:
            check(body)
            data = values_at(body, "data")
            if str(data.get("id")) != str(number) or not entries(data.get("images")):
                raise UnexpectedResponse(
                    f"object {number} and its images were requested; the response is of {data.get('id')!r} "
                    f"and has {len(entries(data.get('images')))} images; {describe(data)}"
                )

        try:
            return {**raw, "detail": client.get_json(f"{OBJECTS}{number}", check=is_object)["data"]}
        except HttpStatus as error:
            if not error.is_gone:
                raise
            return {**raw, "gone": True}

    def record(self, raw: Raw) -> RecordResult:
        license_ = license_of(raw)
        if not raw.get("id") or license_ is None:
            return Skip("no identifier" if not raw.get("id") else "no single Creative Commons license")
        if raw.get("gone"):
            return Skip("object not found")
        detail = raw["detail"]
        return [self._image(detail, image, license_) for image in entries(detail["images"])]

    @staticmethod
    def _image(detail: Raw, image: Raw, license_: License) -> Image | Skip:
        image_id, url = image.get("id"), image.get("largest_derivative_url")
        if skip := missing(identifier=image_id, file=url):
            return skip
        largest = str(image.get("largest_derivative"))
        size: Raw = next((d for d in entries(image.get("derivatives")) if str(d.get("size")) == largest), {})
        creator = next((a.get("name") for a in entries(detail.get("artists")) if a.get("rank") == 1), None)
        return Image(
            foreign_identifier=image_id,
            foreign_landing_url=f"https://www.brooklynmuseum.org/opencollection/objects/{detail['id']}",
            url=url,
            license=license_,
            thumbnail=image.get("standard_size_url"),
            width=size.get("width"),
            height=size.get("height"),
            title=detail.get("title"),
            creator=creator,
            meta_data=compact(detail, *META, date="object_date"),
        )


def entries(value: object) -> list[Raw]:
    """Return the objects of a list, which the API sometimes encodes as an object with numeric keys.

    >>> entries([{"id": 1}, None]), entries({"4": {"id": 1}}), entries("none")
    ([{'id': 1}], [{'id': 1}], [])
    """
    listed = list(value.values()) if isinstance(value, dict) else value
    return [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []


def license_of(item: Raw) -> License | None:
    """Return the license if the rights statement has exactly one Creative Commons link."""
    found = [url for url in links(dig(item, "rights_type", "description")) if "creativecommons.org/" in url]
    return license_from_url(found[0]) if len(found) == 1 else None
