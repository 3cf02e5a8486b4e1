"""Jamendo: music under Creative Commons licenses, about 500,000 tracks by 40,000 artists, singles among them.

Non-commercial apps may send 35,000 requests a month; when they are used up, the pull waits for the next month
and resumes automatically. The URL of an album is read from its web page, once per album. Query parameters
that name the app or the track are removed from URLs, so that all tracks of an album have the same picture.
https://developer.jamendo.com/v3.0/tracks
"""

from catalog.provider_api import (
    ApiKey,
    Audio,
    AudioFile,
    AudioSet,
    Client,
    Counted,
    Json,
    JsonObject,
    Provider,
    Quota,
    Raw,
    RecordResult,
    compact,
    dig,
    license_from_url,
    milliseconds,
    missing,
    tags_of,
    without_param,
)
from catalog.providers.jamendo.responses import Albums, album_page, check

PAGE = 200  # the maximum of the API


class Jamendo(Provider):
    name = "jamendo"
    catalog_names = {"audio": "jamendo"}
    category = "music"
    popularity = "listens"
    quota = Quota(35_000, "month")
    key = ApiKey("API_KEY_JAMENDO", "client_id", "https://devportal.jamendo.com/")
    params = {
        "format": "json",
        "type": "single albumtrack",  # without it, singles are not listed
        "order": "id",  # the default order, by relevance, is not stable
        "fullcount": "true",
        "include": "musicinfo licenses stats lyrics",
        "imagesize": 200,
        "limit": PAGE,
        "audioformat": "mp32",
    }
    pages = Counted(
        "https://api.jamendo.com/v3.0/tracks",
        items="results",
        param="offset",
        first=0,
        step=PAGE,
        total="headers.results_fullcount",
        announces="sometimes",  # expensive API methods return no count
        check=check,
    )

    def __init__(self) -> None:
        self._albums = Albums()

    def complete(self, items: list[Raw], client: Client) -> list[Raw]:
        """Add `set_url` to each track: the URL of its album after redirects."""
        addresses = self._albums.addresses([url for track in items if (url := album_page(track))], client)
        return [{**t, "set_url": addresses.get(album_page(t))} if isinstance(t, dict) else t for t in items]

    def record(self, raw: Raw) -> RecordResult:
        track_id, landing, url = raw.get("id"), raw.get("shareurl"), raw.get("audio")
        license_ = license_from_url(raw.get("license_ccurl"))
        if skip := missing(identifier=track_id, landing_url=landing, audio_file=url, license=license_):
            return skip
        creator = (raw.get("artist_name") or "").strip() or None
        artist, artist_slug = raw.get("artist_id"), raw.get("artist_idstr")
        known = creator and artist and artist_slug
        creator_url = f"https://www.jamendo.com/artist/{artist}/{artist_slug}" if known else None
        return Audio(
            foreign_identifier=track_id,
            foreign_landing_url=landing,
            url=without_param(url, "from"),
            license=license_,
            title=raw.get("name"),
            creator=creator,
            creator_url=creator_url,
            thumbnail=with_slash(raw.get("image")),
            filetype="mp32",
            duration=milliseconds(raw.get("duration")),
            genres=dig(raw, "musicinfo", "tags", "genres"),
            tags=tags(raw.get("musicinfo") or {}),
            meta_data=meta_data(raw),
            alt_files=alternatives(raw),
            **album(raw, creator, creator_url),
        )


def album(track: Raw, creator: str | None, creator_url: str | None) -> JsonObject:
    """Return the fields of the album that a track belongs to; a single has none."""
    if not track.get("album_id") or not track.get("album_name"):
        return {}
    audio_set = AudioSet(
        title=track["album_name"],
        foreign_landing_url=track.get("set_url"),
        thumbnail=without_param(with_slash(track.get("album_image")), "trackid"),
        creator=creator,
        creator_url=creator_url,
        foreign_identifier=track["album_id"],
    )
    return {"audio_set": audio_set, "set_position": track.get("position")}


def alternatives(track: Raw) -> list[AudioFile] | None:
    """Return the download file if the artist allows downloads."""
    if track.get("audiodownload") and track.get("audiodownload_allowed", True):
        return [AudioFile(url=track["audiodownload"], filetype="mp32")]
    return None


def tags(info: Raw) -> list[Json]:
    speed = f"speed_{info['speed']}" if info.get("speed") else None
    lists = dig(info, "tags", "instruments"), dig(info, "tags", "vartags")
    found = tags_of(info.get("vocalinstrumental"), info.get("gender"), speed, *lists)
    return [tag for tag in found if tag != "undefined"]


def meta_data(track: Raw) -> JsonObject:
    stats = track.get("stats") or {}
    playlists = compact(stats, playlists="playlisted") | compact(stats, playlists="rate_playlisted_total")
    return {
        **({"lyrics": track["lyrics"]} if track.get("lyrics") else {}),
        **({"release_date": track["releasedate"]} if track.get("releasedate") else {}),
        **compact(stats, downloads="rate_downloads_total", listens="rate_listened_total"),
        **playlists,
        "audiodownload_allowed": track.get("audiodownload_allowed", True),
    }


def with_slash(url: str | None) -> str | None:
    """Add the missing slash before the question mark of `https://host?query`."""
    return url if not url or "/?" in url else url.replace("?", "/?", 1)
