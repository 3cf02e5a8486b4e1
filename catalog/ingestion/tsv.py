r"""Records as lines of COPY's text format: the one place that knows the TSV columns, their order, sizes and escapes.

Column order and sizes: version 001 of the image format, 002 of the audio format. NULL is `\N`, there is no header, a line ends in `\n`.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import orjson

from catalog.ingestion.cleaning import (
    EXTENSIONS,
    MAX_INTEGER,
    array_field,
    escape,
    filetype,
    integer,
    json_field,
    tags_field,
    tidy,
)
from catalog.ingestion.licenses import License
from catalog.ingestion.records import Audio, Image, Media, MediaType
from catalog.ingestion.urls import UrlCleaner

NULL = r"\N"
VERSIONS: dict[MediaType, str] = {"image": "001", "audio": "002"}
_COMMON = (
    "foreign_identifier", "foreign_landing_url", "url", "thumbnail", "filetype", "filesize", "license", "license_version", "creator",
    "creator_url", "title", "meta_data", "tags", "category", "watermarked", "provider", "source", "ingestion_type",
)  # fmt: skip
_AUDIO_ONLY = (
    "duration", "bit_rate", "sample_rate", "genres", "audio_set", "set_position", "alt_files", "audio_set_foreign_identifier",
)  # fmt: skip
COLUMNS: dict[MediaType, tuple[str, ...]] = {
    "image": (*_COMMON, "width", "height"),
    "audio": (*_COMMON, *_AUDIO_ONLY),
}
REQUIRED = ("foreign_identifier", "foreign_landing_url", "url", "license", "license_version")

# Characters a column takes. `url` has a unique btree index, whose entries may have about 2 700 bytes, so its limit is in bytes as well.
SIZES = {
    "foreign_identifier": 3000, "foreign_landing_url": 1000, "url": 3000, "thumbnail": 3000, "creator": 2000, "creator_url": 2000,
    "title": 5000, "category": 80, "source": 80, "audio_set_foreign_identifier": 1000,
}  # fmt: skip
MAX_URL_BYTES = 2600


class Reject(ValueError):
    """A record that no row can be made of; its text is the reason, the same for all records with the same fault."""


class Encoder:
    """Writes the records of one media type of one provider; counts what it had to leave out of otherwise good rows.

    media_type, provider: as stored. urls: the cleaner, shared between media types of a pull. category: when a record has none.
    `cleaned` holds, by what was done, how many values did not survive (a title cut, a file size out of range).
    """

    def __init__(
        self, media_type: MediaType, provider: str, urls: UrlCleaner, category: str | None = None
    ) -> None:
        self.media_type = media_type
        self.provider = provider
        self.cleaned: Counter[str] = Counter()
        self.line: Callable[[Any], str] = self.image_line if media_type == "image" else self.audio_line
        self._urls = urls
        self._category = category
        self._extensions = EXTENSIONS[media_type]
        self._license_json: dict[License, str] = {}
        self._small: dict[str | None, str] = {None: NULL}

    def image_line(self, record: Image) -> str:
        """One line, with its line end. Raises Reject when a required field is missing or cannot be stored."""
        return f"{self._common(record)}\t{self._number(record.width, 'width')}\t{self._number(record.height, 'height')}\n"

    def audio_line(self, record: Audio) -> str:
        """As image_line, for audio."""
        number = self._number
        fields = (
            self._common(record),
            number(record.duration, "duration"),
            number(record.bit_rate, "bit_rate"),
            number(record.sample_rate, "sample_rate"),
            array_field(record.genres, 80) or NULL,
            json_field(record.audio_set) if record.audio_set else NULL,
            number(record.set_position, "set_position"),
            json_field(record.alt_files) if record.alt_files else NULL,
            self._text(record.audio_set_foreign_identifier, "audio_set_foreign_identifier", cut=False)
            or NULL,
        )
        return "\t".join(fields) + "\n"

    def _common(self, r: Media) -> str:
        fid, landing, url, creator_url, creator, title = self._texts_and_urls(r)
        license_ = r.license
        if license_ is None:
            raise Reject("missing license")
        thumbnail = NULL if r.thumbnail is None else self._optional_url(r.thumbnail, "thumbnail")
        kind = self._extensions.get(url.rpartition(".")[2]) if r.filetype is None else None
        if kind is None:
            kind = filetype(r.filetype, url, self.media_type) or NULL
        size = NULL if r.filesize is None else self._number(r.filesize, "filesize")
        tags: str | None = None
        if r.tags:
            tags, lost = tags_field(r.tags, self.provider)
            if lost:
                self.cleaned["tag malformed or over the limit"] += lost
        small = self._small
        category, source, kind_of_ingestion = (
            r.category or self._category,
            r.source or self.provider,
            r.ingestion_type,
        )
        return (
            f"{fid}\t{landing}\t{url}\t{thumbnail}\t{kind}\t{size}\t{license_.slug}\t{license_.version}\t{creator}\t{creator_url}\t{title}"
            f"\t{self._meta(r.meta_data, license_)}\t{tags or NULL}\t{small.get(category) or self._word(category, 'category')}"
            f"\t{'t' if r.watermarked else 'f'}\t{self.provider}\t{small.get(source) or self._word(source, 'source')}"
            f"\t{kind_of_ingestion or ('commoncrawl' if source == 'commoncrawl' else 'provider_api')}"
        )

    def _texts_and_urls(self, r: Media) -> tuple[str, str, str, str, str, str]:
        """Identifier, landing URL, URL, creator URL, creator, title. All six are tested together; only a suspicious record is walked."""
        fid, landing, url, creator_url, creator, title = (
            r.foreign_identifier, r.foreign_landing_url, r.url, r.creator_url, r.creator, r.title,
        )  # fmt: skip
        try:
            urls = "|".join((landing, url, creator_url or landing))
            texts = "|".join((fid, creator or "", title or "", ""))
        except TypeError:
            return self._walk(r)
        known = self._urls.known
        if (
            fid and landing and url
            and len(urls) <= 1000 and urls.isprintable() and " " not in urls and '"' not in urls and "\\" not in urls
            and len(texts) <= 2000 and texts.isprintable() and '"' not in texts and "\\" not in texts and "  " not in texts
            and " |" not in texts and "| " not in texts and texts[0] != " "
            and landing[: landing.find("/", 8)] in known and url[: url.find("/", 8)] in known
            and (not creator_url or creator_url[: creator_url.find("/", 8)] in known)
            and not (self._urls.strip_slashes and ("/|" in urls or urls[-1] == "/"))
        ):  # fmt: skip
            return fid, landing, url, creator_url or NULL, creator or NULL, title or NULL
        return self._walk(r)

    def _walk(self, r: Media) -> tuple[str, str, str, str, str, str]:
        fid = self._text(r.foreign_identifier, "foreign_identifier", cut=False, required=True)
        landing = self._required_url(r.foreign_landing_url, "foreign_landing_url")
        url = self._required_url(r.url, "url")
        if len(url) > MAX_URL_BYTES // 4 and len(url.encode()) > MAX_URL_BYTES:
            raise Reject("url too long")
        creator_url = NULL if r.creator_url is None else self._optional_url(r.creator_url, "creator_url")
        return (
            fid,
            landing,
            url,
            creator_url,
            self._text(r.creator, "creator") or NULL,
            self._text(r.title, "title") or NULL,
        )

    def _required_url(self, value: Any, column: str) -> str:
        if value is None or value == "":
            raise Reject(f"missing {column}")
        if cleaned := self._urls.clean(value, SIZES[column]):
            return cleaned
        raise Reject(
            f"{column} too long"
            if type(value) is str and len(value) > SIZES[column]
            else f"{column} is not a URL"
        )

    def _optional_url(self, value: Any, column: str) -> str:
        if cleaned := self._urls.clean(value, SIZES[column]):
            return cleaned
        if value != "":
            self.cleaned[f"{column} is not a URL"] += 1
        return NULL

    def _text(self, value: Any, column: str, cut: bool = True, required: bool = False) -> str:
        """Tidy, escaped text of at most the column's size; "" when there is none."""
        text = "" if value is None else tidy(value if type(value) is str else str(value))
        if len(text) > SIZES[column]:
            if required:
                raise Reject(f"{column} too long")
            self.cleaned[f"{column} too long"] += 1
            text = text[: SIZES[column]].rstrip() if cut else ""
        if required and not text:
            raise Reject(f"missing {column}")
        return escape(text)

    def _number(self, value: Any, column: str) -> str:
        if value is None:
            return NULL
        number = integer(value)
        if number is not None and -MAX_INTEGER < number < MAX_INTEGER:
            return str(number)
        if value != "":
            self.cleaned[f"{column} is no number of the column's range"] += 1
        return NULL

    def _word(self, value: str | None, column: str) -> str:
        """A category or source; there are few, so each is cleaned once."""
        text = "" if value is None else tidy(value)
        return self._small.setdefault(value, escape(text) if 0 < len(text) <= SIZES[column] else NULL)

    def _meta(self, meta: dict[str, Any] | None, license_: License) -> str:
        """The metadata with the license's addresses added, as JSON in a COPY field."""
        ours = self._license_json.get(license_)
        if ours is None:
            urls = {"license_url": license_.url, "raw_license_url": license_.raw_url}
            ours = self._license_json[license_] = json_field({k: v for k, v in urls.items() if v})[1:]
        if not meta or type(meta) is not dict:
            return "{" + ours
        try:
            if all([type(value) is str for value in meta.values()]):  # noqa: C419 - a list is faster than a generator here
                text = orjson.dumps(meta).decode()
                if (
                    "\\" not in text and "  " not in text and text.isprintable() and '" ' not in text and ' "' not in text
                    and '"license_url"' not in text and '"raw_license_url"' not in text
                ):  # fmt: skip
                    return text[:-1] + "," + ours
        except (orjson.JSONEncodeError, TypeError):  # a lone surrogate, a key that is no text
            pass
        rest = {key: value for key, value in meta.items() if key not in ("license_url", "raw_license_url")}
        return json_field(rest)[:-1] + ("," if rest else "") + ours
