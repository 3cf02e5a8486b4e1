"""Wikimedia Commons: images and audio under Creative Commons licenses, uploaded on one UTC day.

One request names a set of files; what is asked about them (their usage on other wikis above all) may come in many answers, which are merged
until MediaWiki says that the batch is complete. A batch that is not complete after a hundred answers is asked again without the part that
keeps it open; the usage counted by then is kept. https://www.mediawiki.org/wiki/API:Continue
"""

import re
from datetime import date, timedelta
from typing import Any

from catalog.ingestion import (
    Audio,
    Client,
    Cursor,
    Image,
    Mapped,
    Page,
    Paginator,
    Params,
    Provider,
    Rate,
    Raw,
    Reingestion,
    Skip,
    Window,
    dig,
    first_link,
    license_from_url,
    text_of,
)  # fmt: skip
from catalog.ingestion.cleaning import EXTENSIONS
from catalog.ingestion.records import MediaType

ENDPOINT = "https://commons.wikimedia.org/w/api.php"
MAX_ANSWERS = 100  # of one batch with the same image list position
MEDIA_TYPES: dict[Any, MediaType] = {"BITMAP": "image", "DRAWING": "image", "AUDIO": "audio"}


class Batches(Paginator):
    """A batch of files a page. The cursor is MediaWiki's own `continue` object, which with the original parameters is the request."""

    own_params = ("continue", "gaicontinue", "gucontinue", "iicontinue")

    def start(self, params: Params) -> Cursor:
        return {"continue": {key: params[key] for key in self.own_params if key in params}}

    def fetch(self, client: Client, cursor: Cursor, params: Params) -> Page:
        files: dict[str, dict[str, Any]] = {}
        token, asked, answers, dropped = dict(cursor["continue"]), dict(params), 0, False
        while True:
            body = client.get_json(ENDPOINT, {**asked, **token})
            following = body.get("continue") or {}
            merge(files, dig(body, "query", "pages") or {})
            if "batchcomplete" in body or not following:
                break
            answers = answers + 1 if following.get("gaicontinue") == token.get("gaicontinue") else 1
            if answers >= MAX_ANSWERS and not dropped:
                asked, following, answers, dropped = (
                    self._without(asked, following),
                    dict(cursor["continue"]),
                    0,
                    True,
                )
                for file in files.values():
                    file["usage_so_far"] = len(file.pop("globalusage", ()))
            token = following
        return Page(list(files.values()), {"continue": following} if following and files else None)

    @staticmethod
    def _without(asked: dict[str, Any], following: dict[str, Any]) -> dict[str, Any]:
        """The parameters less what keeps the batch from becoming complete."""
        less = dict(asked)
        if "gucontinue" in following:
            less["prop"] = "imageinfo"
        if "iicontinue" in following:
            less["iiprop"] = less["iiprop"].replace("|metadata", "")
        return less


def merge(files: dict[str, dict[str, Any]], more: dict[str, Any]) -> None:
    """Adds what an answer tells about the files of the batch; lists of usage grow, everything else is replaced."""
    for page_id, page in more.items():
        known = files.setdefault(page_id, {})
        usage = [*known.get("globalusage", ()), *page.get("globalusage", ())]
        known.update(page)
        if usage:
            known["globalusage"] = usage


class WikimediaCommons(Provider):
    name = "wikimedia_commons"
    strings = {"image": "wikimedia", "audio": "wikimedia_audio"}
    schedule = "@daily"
    dated = True
    start_date = date(2020, 11, 1)
    rate = Rate(per_second=5)  # the limit is 200; five are polite and far faster than needed
    popularity = "global_usage_count"
    pull_timeout = timedelta(hours=12)
    params = {
        "action": "query",
        "generator": "allimages",
        "gaisort": "timestamp",
        "gaidir": "newer",
        "gailimit": 250,
        "gulimit": 250,
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

    def rounds(self, client: Client, window: Window | None) -> list[dict[str, Any]]:
        assert window is not None
        return [{"gaistart": int(window.start.timestamp()), "gaiend": int(window.end.timestamp())}]

    def record(self, raw: Raw) -> Mapped:
        info = dig(raw, "imageinfo", 0) or {}
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
        extension = url.rpartition(".")[2].lower()
        if extension in EXTENSIONS["audio" if medium == "image" else "image"]:
            return Skip("file of another medium", medium)
        artist = extra(info, "Artist")
        common: dict[str, Any] = {
            "foreign_identifier": page_id,
            "foreign_landing_url": landing,
            "url": url,
            "license": license_,
            "creator": text_of(artist, between=""),
            "creator_url": first_link(artist),
            "title": title(extra(info, "ObjectName") or raw.get("title")),
            "filesize": info.get("size") or None,
        }
        meta = meta_data(raw, info)
        if medium == "image":
            category = "illustration" if extension == "svg" else None
            return Image(
                **common,
                width=info.get("width"),
                height=info.get("height"),
                category=category,
                meta_data=meta,
            )
        sound = sound_facts(info)
        channels = sound.get("audio_channels") or sound.get("channels")
        return Audio(
            **common,
            duration=int(float(info.get("duration") or 0) * 1000),
            sample_rate=sound.get("audio_sample_rate") or sound.get("sample_rate"),
            bit_rate=sound.get("bitrate_nominal") or sound.get("bitrate"),
            category="pronunciation" if "pronunciation" in str(extra(info, "Categories")).lower() else None,
            meta_data=meta if channels is None else {**meta, "channels": channels},
        )


def extra(info: Raw, key: str) -> Any:
    return dig(info, "extmetadata", key, "value")


def title(name: Any) -> str | None:
    """A file's name without namespace and extension."""
    return (
        re.sub(r"\.(png|jpe?g|ogg|wav)$", "", name.removeprefix("File:"), flags=re.IGNORECASE)
        if isinstance(name, str)
        else None
    )


def meta_data(page: Raw, info: Raw) -> dict[str, Any]:
    categories = extra(info, "Categories")
    found = {
        "global_usage_count": max(len(page.get("globalusage") or ()), page.get("usage_so_far") or 0),
        "date_originally_created": extra(info, "DateTimeOriginal"),
        "last_modified_at_source": extra(info, "DateTime"),
        "categories": categories.split("|") if categories else None,
        "description": text_of(extra(info, "ImageDescription")),
        "latitude": extra(info, "GPSLatitude"),
        "longitude": extra(info, "GPSLongitude"),
        "map_datum": extra(info, "GPSMapDatum"),
    }
    return {key: value for key, value in found.items() if value is not None}


def sound_facts(info: Raw) -> dict[str, Any]:
    """The header of the first stream: at the top for ogg files, below `audio` for wav files."""
    metadata = named(info.get("metadata"))
    streams = metadata.get("streams") or named(metadata.get("audio")).get("streams")
    stream = named(dig(streams, 0, "value"))
    return named(stream["header"]) if "header" in stream else stream


def named(pairs: Any) -> dict[str, Any]:
    """MediaWiki's list of {name, value} as a dict."""
    return (
        {str(p["name"]): p.get("value") for p in pairs if isinstance(p, dict) and "name" in p}
        if isinstance(pairs, list)
        else {}
    )
