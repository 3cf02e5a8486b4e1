"""Checks of Freesound's search results."""

import re

from catalog.provider_api import Json, UnexpectedResponse, items_at

FIELDS = (
    "id,url,name,tags,description,license,type,download,filesize,bitrate,duration,samplerate,pack,pack_name,"
    "username,num_downloads,avg_rating,num_ratings,geotag,previews"
)


def check(body: Json) -> None:
    """Raise UnexpectedResponse if a requested field is missing from all sounds.

    The API ignores unknown fields, so a renamed field would otherwise be lost without an error.
    """
    sounds = [sound for sound in items_at(body, "results") if isinstance(sound, dict)]
    lacking = [field for field in FIELDS.split(",") if not any(field in sound for sound in sounds)]
    if sounds and lacking:
        raise UnexpectedResponse(
            f"no sound has {', '.join(lacking)}; the first has {', '.join(sounds[0])}"[:500]
        )
    packs = [pack for sound in sounds if (pack := sound.get("pack"))]
    if packs and not any(map(pack_number, packs)):
        raise UnexpectedResponse(
            f"`pack` should be an address that ends in a number but is {str(packs[0])[:100]!r}"
        )


def pack_number(address: object) -> str | None:
    """Return the number of a pack from its URL, or None.

    >>> pack_number("https://freesound.org/apiv2/packs/23395/"), pack_number("https://freesound.org/")
    ('23395', None)
    """
    match = re.search(r"/packs/(\d+)/?$", address) if isinstance(address, str) else None
    return match.group(1) if match else None
