"""Freesound: sounds under Creative Commons licenses.

What is stored is the preview in MP3 (128 kbit/s), which anyone may fetch; the file as it was uploaded is an alternative, and needs a login
there. A sound whose preview is gone is left out. With a date, only sounds made since that day are pulled. https://freesound.org/docs/api/
"""

from datetime import timedelta
from functools import partial
from typing import Any

from catalog.ingestion import (  # fmt: skip
    ApiKey,
    Audio,
    Client,
    Counted,
    HttpStatus,
    Mapped,
    OAuth2,
    Provider,
    Rate,
    Raw,
    Skip,
    Window,
    dig,
    license_from_url,
    missing,
)

PAGE = 150  # the most the API accepts
PREVIEW = "preview-hq-mp3"
FIELDS = (
    "id,url,name,tags,description,created,license,type,download,filesize,bitrate,bitdepth,duration,samplerate,pack,username,"
    "num_downloads,avg_rating,num_ratings,geotag,previews"
)
META = ("description", "num_downloads", "avg_rating", "num_ratings", "geotag", "download")


class Freesound(Provider):
    name = "freesound"
    strings = {"audio": "freesound"}
    schedule = "@quarterly"
    since = True
    rate = Rate(per_minute=60)
    pull_timeout = timedelta(days=50)
    popularity = "num_downloads"
    key = ApiKey(
        "API_KEY_FREESOUND",
        "Authorization",
        "https://freesound.org/apiv2/apply/",
        header=True,
        scheme="Token ",
    )
    oauth2 = OAuth2(
        "https://freesound.org/apiv2/oauth2/authorize/", "https://freesound.org/apiv2/oauth2/access_token/"
    )
    params = {"format": "json", "query": "", "page_size": PAGE, "fields": FIELDS}
    pages = Counted("https://freesound.org/apiv2/search/text", items="results", total="count", gone=404)

    def __init__(self) -> None:
        self._packs: dict[str, dict[str, Any]] = {}

    def rounds(self, client: Client, window: Window | None) -> list[dict[str, Any]]:
        return [{"filter": f"created:[{f'{window.start:%Y-%m-%dT%H:%M:%SZ}' if window else '*'} TO NOW]"}]

    def complete(self, items: list[Raw], client: Client) -> list[Raw]:
        packs = sorted(
            {pack for sound in items if isinstance(pack := dig(sound, "pack"), str)} - self._packs.keys()
        )
        if len(self._packs) > 10_000:
            self._packs.clear()
        self._packs.update(zip(packs, client.map(partial(pack_of, client), packs), strict=True))
        return super().complete(items, client)

    def detail(self, raw: Raw, client: Client) -> Raw:
        preview = dig(raw, "previews", PREVIEW)
        if raw is None:
            return None
        return {
            **raw,
            "set": self._packs.get(raw.get("pack")),
            "preview_size": client.file_size(preview) if preview else None,
        }

    def record(self, raw: Raw) -> Mapped:
        if raw is None:  # the API puts nulls between
            return Skip("null")
        sound, landing, preview = raw.get("id"), raw.get("url"), dig(raw, "previews", PREVIEW)
        license_ = license_from_url(raw.get("license"))
        if skip := missing(identifier=sound, landing_url=landing):
            return skip
        if license_ is None:
            return Skip("no license")
        if not preview or not raw.get("preview_size"):
            return Skip("no preview" if not preview else "preview not found")
        creator = (raw.get("username") or "").strip() or None
        return Audio(
            foreign_identifier=sound,
            foreign_landing_url=landing,
            url=preview,
            license=license_,
            filetype="mp3",
            bit_rate=128_000,
            filesize=raw["preview_size"],
            duration=int(float(raw["duration"]) * 1000) if raw.get("duration") is not None else None,
            title=raw.get("name"),
            creator=creator,
            creator_url=f"https://freesound.org/people/{creator.replace(' ', '%20')}/" if creator else None,
            tags=raw.get("tags"),
            meta_data={key: raw[key] for key in META if raw.get(key)},
            alt_files=original(raw),
            **pack(raw),
        )


def pack_of(client: Client, url: str) -> dict[str, Any]:
    """Identifier and name of a pack; {} when it is gone, as many old ones are."""
    try:
        found = client.get_json(url)
    except HttpStatus as error:
        if error.status == 404:
            return {}
        raise
    return found if isinstance(found, dict) else {}


def pack(sound: Raw) -> dict[str, Any]:
    found = sound.get("set") or {}
    if not found.get("name"):
        return {}
    audio_set = {
        "title": found["name"],
        "foreign_landing_url": sound.get("pack"),
        "foreign_identifier": found.get("id"),
    }
    return {"audio_set": audio_set, "audio_set_foreign_identifier": found.get("id")}


def original(sound: Raw) -> list[dict[str, Any]] | None:
    """The file as it was uploaded."""
    if not sound.get("download"):
        return None
    rates = {
        "bit_rate": int(sound.get("bitrate") or 0) * 1000 or None,
        "sample_rate": int(float(sound.get("samplerate") or 0)) or None,
    }
    return [
        {"url": sound["download"], **rates, "filetype": sound.get("type"), "filesize": sound.get("filesize")}
    ]
