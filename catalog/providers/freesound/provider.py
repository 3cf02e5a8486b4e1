"""Freesound: sounds under Creative Commons licenses.

The stored file is the MP3 preview (128 kbit/s), which is public; the uploaded file, which requires a login,
is an alternative. A sound without a preview is skipped. With a date, only sounds created since that day are
pulled.

An ordinary key allows 60 requests a minute and 2,000 a day. A pull of everything needs more: when the quota
is used up, it waits for the next day and resumes automatically. https://freesound.org/docs/api/
"""

from datetime import timedelta
from urllib.parse import quote

from catalog.provider_api import (
    ApiKey,
    Audio,
    AudioFile,
    AudioSet,
    Client,
    Counted,
    OAuth2,
    Provider,
    Quota,
    Rate,
    Raw,
    RecordResult,
    RoundParams,
    Skip,
    Window,
    dig,
    license_from_url,
    milliseconds,
    missing,
)
from catalog.providers.freesound.responses import FIELDS, check, pack_number

PAGE = 150  # the maximum of the API
PREVIEW = "preview-hq-mp3"
META = ("description", "num_downloads", "avg_rating", "num_ratings", "geotag", "download")


class Freesound(Provider):
    name = "freesound"
    catalog_names = {"audio": "freesound"}
    schedule = "@quarterly"
    since = True
    rate = Rate(per_minute=60)
    quota = Quota(2_000, "day")
    pull_timeout = timedelta(days=50)
    popularity = "num_downloads"
    deletion_reasons = ("preview not found",)
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
    params = {"format": "json", "query": "", "sort": "created_asc", "page_size": PAGE, "fields": FIELDS}
    pages = Counted(
        "https://freesound.org/apiv2/search/",
        items="results",
        total="count",
        more="next",
        past_end_status=404,
        check=check,
    )

    def rounds(self, client: Client, window: Window | None) -> list[RoundParams]:
        return [{"filter": f"created:[{f'{window.start:%Y-%m-%dT%H:%M:%SZ}' if window else '*'} TO NOW]"}]

    def detail(self, raw: Raw, client: Client) -> Raw:
        preview = dig(raw, "previews", PREVIEW)
        if not isinstance(preview, str) or not preview:
            return raw
        file = client.file_facts(preview)
        return {**raw, "preview_gone": file.deleted, "preview_size": file.size}

    def record(self, raw: Raw) -> RecordResult:
        if raw is None:  # the search lists a sound that the database no longer has
            return Skip("null")
        sound, landing, preview = raw.get("id"), raw.get("url"), dig(raw, "previews", PREVIEW)
        license_ = license_from_url(raw.get("license"))
        if skip := missing(identifier=sound, landing_url=landing, preview=preview, license=license_):
            return skip
        if raw.get("preview_gone"):
            return Skip("preview not found")
        creator = (raw.get("username") or "").strip() or None
        page = f"https://freesound.org/people/{quote(creator, safe='@+~')}/" if creator else None
        return Audio(
            foreign_identifier=sound,
            foreign_landing_url=landing,
            url=preview,
            license=license_,
            filetype="mp3",
            bit_rate=128_000,
            filesize=raw.get("preview_size"),
            duration=milliseconds(raw.get("duration")),
            title=raw.get("name"),
            creator=creator,
            creator_url=page,
            tags=raw.get("tags"),
            meta_data={key: raw[key] for key in META if raw.get(key)},
            alt_files=original(raw),
            audio_set=pack_of(raw, page),
        )


def pack_of(sound: Raw, people: str | None) -> AudioSet | None:
    """Return the pack that a sound belongs to; its page is below its owner's page."""
    name, number = sound.get("pack_name"), pack_number(sound.get("pack"))
    if not name or not number:
        return None
    page = f"{people}packs/{number}/" if people else None
    return AudioSet(title=name, foreign_landing_url=page, foreign_identifier=number)


def original(sound: Raw) -> list[AudioFile] | None:
    """Return the uploaded file as an alternative."""
    if not sound.get("download"):
        return None
    return [
        AudioFile(
            url=sound["download"],
            bit_rate=float(sound.get("bitrate") or 0) * 1000,
            sample_rate=sound.get("samplerate"),
            filetype=sound.get("type"),
            filesize=sound.get("filesize"),
        )
    ]
