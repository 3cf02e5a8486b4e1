"""Wikimedia Commons: images and audio under Creative Commons licenses, uploaded on one UTC day.

A request names a set of files. The data about them, mainly their usage on other wikis, may take many
responses, which are merged until MediaWiki reports that the batch is complete. A batch that is not complete
after a hundred responses is requested again without the property that keeps it open. Files whose usage was
not counted to its end then keep the number that is stored, unless at least 500 uses were counted.

Since spring 2026, clients whose User-Agent contains a contact address (the setting `CONTACT_EMAIL`) may send
200 requests a minute, and all others 10; at most three at a time.
https://www.mediawiki.org/wiki/Wikimedia_APIs/Rate_limits
"""

from datetime import date, timedelta

from catalog.provider_api import (
    Audio,
    Client,
    Image,
    Json,
    JsonObject,
    MediaType,
    Provider,
    Rate,
    Raw,
    RecordResult,
    Reingestion,
    RoundParams,
    Skip,
    Window,
    dig,
    first_link,
    license_from_url,
    milliseconds,
    text_of,
)
from catalog.providers.wikimedia_commons.batches import Batches
from catalog.providers.wikimedia_commons.imageinfo import extra, html, meta_data, sound_facts, title

MEDIA_TYPES: dict[Json, MediaType] = {"BITMAP": "image", "DRAWING": "image", "AUDIO": "audio"}


class WikimediaCommons(Provider):
    name = "wikimedia_commons"
    catalog_names = {"image": "wikimedia", "audio": "wikimedia_audio"}
    schedule = "@daily"
    dated = True
    start_date = date(2020, 11, 1)
    rate = Rate(per_minute=180)
    retries = 5
    needs_contact = True
    popularity = "global_usage_count"
    pull_timeout = timedelta(hours=12)
    params = {
        "action": "query",
        "generator": "allimages",
        "gaisort": "timestamp",
        "gaidir": "newer",
        "gailimit": 250,
        "gulimit": 500,
        "gunamespace": 0,
        "prop": "imageinfo|globalusage",
        "iiprop": "url|user|dimensions|extmetadata|mediatype|size|metadata",
        "format": "json",
    }
    pages = Batches()
    reingestion = Reingestion(
        "wikimedia_reingestion_workflow",
        ((1, 6), (30, 9), (90, 18), (180, 30)),
        max_active_tasks=2,
        pull_timeout=timedelta(hours=4),
    )

    def rounds(self, client: Client, window: Window | None) -> list[RoundParams]:
        assert window is not None
        return [{"gaistart": int(window.start.timestamp()), "gaiend": int(window.end.timestamp())}]

    def record(self, raw: Raw) -> RecordResult:
        info = dig(raw, "imageinfo", 0) or {}
        if not info and raw.get("imagerepository") != "":  # "" means that the file was deleted
            raise ValueError("a file without imageinfo")
        medium = MEDIA_TYPES.get(info.get("mediatype"))
        if medium is None:
            return Skip(
                f"not image or audio: {info['mediatype']}"
                if info.get("mediatype")
                else "no image information"
            )
        license_ = license_from_url((extra(info, "LicenseUrl") or "").strip())
        if license_ is None:
            return Skip("no license", medium)
        page_id, url, landing = raw.get("pageid"), info.get("url"), info.get("descriptionshorturl")
        if not page_id or not url or not landing:
            return Skip(
                "no identifier" if not page_id else "no file" if not url else "no landing URL", medium
            )
        artist, name = html(info, "Artist"), html(info, "ObjectName")
        common: JsonObject = {
            "foreign_identifier": page_id,
            "foreign_landing_url": landing,
            "url": url,
            "license": license_,
            "creator": artist,
            "creator_url": first_link(artist),
            "title": title(name if text_of(name) else raw.get("title")),
            "filesize": info.get("size"),
        }
        meta = meta_data(raw, info)
        if medium == "image":
            return Image(
                **common,
                width=info.get("width"),
                height=info.get("height"),
                category="illustration" if url.lower().endswith(".svg") else None,
                meta_data=meta,
            )
        sound = sound_facts(info)
        channels = sound.get("audio_channels") or sound.get("channels")
        return Audio(
            **common,
            duration=milliseconds(info.get("duration")),
            sample_rate=sound.get("audio_sample_rate") or sound.get("sample_rate"),
            bit_rate=sound.get("bitrate_nominal") or sound.get("bitrate"),
            category="pronunciation" if "pronunciation" in str(extra(info, "Categories")).lower() else None,
            meta_data=meta if channels is None else {**meta, "channels": channels},
        )
