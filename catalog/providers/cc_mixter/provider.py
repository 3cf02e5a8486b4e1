"""ccMixter: remixes and samples under Creative Commons licenses.

An upload is one record: its smallest audio file, with the other files as alternatives. The site's responses
are not quite JSON (numbers with leading zeros, control characters in strings), and have a header that repeats
the whole response. https://ccmixter.org/query-api
"""

import re

from catalog.provider_api import (
    Audio,
    AudioFile,
    Counted,
    Provider,
    Raw,
    RecordResult,
    Skip,
    as_count,
    audio_files,
    compact,
    dig,
    license_from_url,
    milliseconds,
    missing,
    tags_of,
)

LIMIT = 100


class CcMixter(Provider):
    name = "cc_mixter"
    catalog_names = {"audio": "ccmixter"}
    popularity = "upload_num_scores"
    params = {
        "format": "json",
        "limit": LIMIT,
        "sort": "id",
        "ord": "asc",
    }  # new uploads do not shift the others
    pages = Counted("https://ccmixter.org/api/query/", items="", param="offset", first=0, step=LIMIT)

    def record(self, raw: Raw) -> RecordResult:
        upload, landing = raw.get("upload_id"), raw.get("file_page_url")
        identifier = upload is not None and str(upload)
        license_ = license_from_url(raw.get("license_url"))
        if skip := missing(identifier=identifier, landing_url=landing, license=license_):
            return skip
        audio = [
            f
            for f in raw.get("files") or []
            if dig(f, "file_format_info", "media-type") == "audio" and f.get("download_url")
        ]
        if not audio:
            return Skip("no audio file")
        audio.sort(key=lambda f: as_count(f.get("file_rawsize")) or 1 << 60)
        return Audio(
            foreign_identifier=upload,
            foreign_landing_url=landing,
            license=license_,
            **audio_files(*map(as_file, audio)),
            title=raw.get("upload_name"),
            creator=raw.get("user_real_name") or raw.get("user_name"),
            creator_url=raw.get("artist_page_url"),
            tags=tags_of(raw.get("upload_tags")),
            meta_data=compact(
                raw,
                "upload_num_scores",
                description="upload_description_plain",
                description_html="upload_description_html",
            ),
        )


def as_file(file: Raw) -> AudioFile:
    info = file["file_format_info"]
    rate = re.fullmatch(r"\s*([0-9.]+)\s*k", str(info.get("sr")), re.IGNORECASE)
    return AudioFile(
        url=file["download_url"].replace(" ", "%20"),
        filesize=file.get("file_rawsize"),
        filetype=info.get("default-ext"),
        sample_rate=float(rate.group(1)) * 1000 if rate else None,
        duration=milliseconds(info.get("ps")),
    )
