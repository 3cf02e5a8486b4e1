"""Art Institute of Chicago: images of artworks in the public domain, which the museum offers under CC0.

Whether a work is in the public domain is read from each record. Stored files are renditions of at most 843
pixels in width, the size that the museum recommends and keeps ready; width and height are those of the
rendition. More than 100,000 artworks are listed, of which many are under copyright. The listing has no limit,
unlike the API's search. Descriptions are not stored, because their license is another one.
https://api.artic.edu/docs/
"""

from catalog.provider_api import (
    CC0,
    Counted,
    Image,
    Json,
    Provider,
    Rate,
    Raw,
    RecordResult,
    Skip,
    UnexpectedResponse,
    compact,
    dig,
    items_at,
    missing,
    tags_of,
)

WIDTH, THUMBNAIL = 843, 200  # pixels; the API's documentation asks for these widths
META = ("date_display", "medium_display", "department_title", "place_of_origin", "credit_line")
FIELDS = (
    *("id", "title", "is_public_domain", "image_id", "thumbnail", "artist_title", "artwork_type_title"),
    *("classification_titles", "term_titles", "main_reference_number", *META),
)


def check(body: Json) -> None:
    """Raise UnexpectedResponse if an artwork lacks a field that decides whether it is kept.

    The API lists all requested fields, null ones among them, and ignores unknown ones.
    """
    for item in items_at(body, "data"):
        lacking = [
            key for key in ("is_public_domain", "image_id") if isinstance(item, dict) and key not in item
        ]
        if lacking:
            raise UnexpectedResponse(f"an artwork has no field `{lacking[0]}`: {str(item)[:200]}")


class ArtInstituteOfChicago(Provider):
    name = "art_institute_of_chicago"
    catalog_names = {"image": "artinstituteofchicago"}
    category = "digitized_artwork"
    rate = Rate(per_second=1)  # https://api.artic.edu/docs/#authentication
    params = {"limit": 100, "fields": ",".join(FIELDS)}
    pages = Counted(
        "https://api.artic.edu/api/v1/artworks",
        items="data",
        pages="pagination.total_pages",
        total="pagination.total",
        beside={"iiif": "config.iiif_url"},
        check=check,
    )

    def record(self, raw: Raw) -> RecordResult:
        number, image = raw.get("id"), raw.get("image_id")
        if raw.get("is_public_domain") is not True:
            return Skip("not in the public domain")
        if skip := missing(identifier=number, image=image):
            return skip
        width, height = self._size(raw)
        return Image(
            foreign_identifier=number,
            foreign_landing_url=f"https://www.artic.edu/artworks/{number}",
            url=f"{raw['iiif']}/{image}/full/{width or WIDTH},/0/default.jpg",
            thumbnail=f"{raw['iiif']}/{image}/full/{THUMBNAIL},/0/default.jpg",
            license=CC0,
            width=width,
            height=height,
            title=raw.get("title"),
            creator=raw.get("artist_title"),
            category="photograph" if raw.get("artwork_type_title") == "Photograph" else None,
            tags=list(dict.fromkeys(tags_of(raw.get("classification_titles"), raw.get("term_titles")))),
            meta_data=compact(raw, *META, type="artwork_type_title", number="main_reference_number"),
        )

    @staticmethod
    def _size(raw: Raw) -> tuple[int | None, int | None]:
        """Return the size of the rendition, from that of the original; a smaller one is not enlarged."""
        width, height = (dig(raw, "thumbnail", key) for key in ("width", "height"))
        if not isinstance(width, int) or not isinstance(height, int) or width < 1:
            return None, None
        return min(width, WIDTH), round(height * min(width, WIDTH) / width)
