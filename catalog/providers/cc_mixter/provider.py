"""ccMixter: remixes and samples under Creative Commons licenses.

An upload is one record: its smallest audio file, with the other files as alternatives. The site's responses
are not quite JSON (numbers with leading zeros, control characters in strings), and have a header that repeats
the whole response. https://ccmixter.org/query-api
"""

import re

from catalog.provider_api import (
    Audio,
    Counted,
    JsonObject,
    Provider,
    Raw,
    RecordResult,
    Skip,
    as_count,
    dig,
    license_from_url,
    missing,
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
        if skip := missing(identifier=upload is not None and str(upload), landing_url=landing):
            return skip
        license_ = license_from_url(raw.get("license_url"))
        if license_ is None:
            return Skip("no license")
        audio = [
            f
            for f in raw.get("files") or []
            if dig(f, "file_format_info", "media-type") == "audio" and f.get("download_url")
        ]
        if not audio:
            return Skip("no audio file")
        main, *others = map(as_file, sorted(audio, key=lambda f: as_count(f.get("file_rawsize")) or 1 << 60))
        meta = {
            "description": raw.get("upload_description_plain"),
            "description_html": raw.get("upload_description_html"),
            "upload_num_scores": raw.get("upload_num_scores"),
        }
        return Audio(
            foreign_identifier=upload,
            foreign_landing_url=landing,
            license=license_,
            **main,
            alt_files=others or None,
            title=raw.get("upload_name"),
            creator=raw.get("user_real_name") or raw.get("user_name"),
            creator_url=raw.get("artist_page_url"),
            tags=[tag for tag in (raw.get("upload_tags") or "").split(",") if tag],
            meta_data={key: value for key, value in meta.items() if value is not None},
        )


def as_file(file: Raw) -> JsonObject:
    info = file["file_format_info"]
    rate = re.fullmatch(r"\s*([0-9.]+)\s*k", str(info.get("sr")), re.IGNORECASE)
    return {
        "url": file["download_url"].replace(" ", "%20"),
        "filesize": file.get("file_rawsize"),
        "filetype": info.get("default-ext"),
        "sample_rate": float(rate.group(1)) * 1000 if rate else None,
        "duration": milliseconds(info.get("ps")),
    }


def milliseconds(length: object) -> int | None:
    """Convert a duration such as `5:46`; None if it is malformed.

    >>> milliseconds("5:46"), milliseconds("1:05:46"), milliseconds("2"), milliseconds("long")
    (346000, 3946000, 2000, None)
    """
    parts = str(length).strip().split(":")
    if not all(part.isdecimal() for part in parts) or len(parts) > 3:
        return None
    return 1000 * sum(int(part) * unit for part, unit in zip(reversed(parts), (1, 60, 3600), strict=False))
