r"""Encodes records as lines of COPY's text format.

Columns are in the order of `core.columns`. NULL is `\N`, there is no header, and a line ends in `\n`. The
rules for single values are in `cleaning`, `filetypes`, `urls` and `fields`.
"""

from collections import Counter
from collections.abc import Callable

from catalog.core.columns import MAX_INTEGER, MAX_URL_BYTES, SIZES
from catalog.core.jsontypes import Json, JsonObject
from catalog.core.licenses import License
from catalog.core.media import MediaType
from catalog.ingestion.cleaning import UNDECODED, creators, escape, is_undecoded, number_for, plain, tidy
from catalog.ingestion.fields import (
    alt_files_field,
    audio_set_field,
    genres_field,
    json_field,
    meta_field,
    plain_meta,
    plain_tags,
    tags_field,
)
from catalog.ingestion.filetypes import EXTENSIONS, LONGEST_EXTENSION, kind_of, without_extension
from catalog.ingestion.reasons import OTHER_MEDIA_TYPE
from catalog.ingestion.records import Audio, AudioFile, AudioSet, Image, Media, dig
from catalog.ingestion.urls import UrlCleaner

NULL = r"\N"


class Reject(ValueError):
    """A record that cannot be stored. The message is the reason under which it is counted."""


class Unwanted(Exception):
    """A well-formed record that does not belong into this table. The message is the reason of the skip."""


class Encoder:
    """Encodes the records of one provider and media type.

    Attributes:
        media_type: The media type of the records.
        provider: The provider's name in the catalog.
        cleaned: Reason → number of values that were changed or dropped, such as a title that is too long.
        line: Encodes one record.
    """

    def __init__(
        self, media_type: MediaType, provider: str, urls: UrlCleaner, category: str | None = None
    ) -> None:
        """Create an encoder.

        Args:
            media_type: The media type of the records.
            provider: The provider's name in the catalog.
            urls: The URL cleaner, shared between the media types of a pull.
            category: The category of records that have none.
        """
        self.media_type = media_type
        self.provider = provider
        self.cleaned: Counter[str] = Counter()
        self.line: Callable[[Json], str] = self.image_line if media_type == "image" else self.audio_line
        self._urls = urls
        self._category = category
        self._extensions = EXTENSIONS[media_type]
        self._license_json: dict[License, str] = {}
        self._small: dict[str | None, str] = {None: NULL}

    def image_line(self, record: Image) -> str:
        """Encode an image as one line, including the line end.

        Raises:
            Reject: A required field is missing or cannot be stored.
            Unwanted: The file has another media type.
        """
        common = self._common(record)  # first: what a rejected record has is not counted as cleaned
        return f"{common}\t{self._number(record.width, 'width')}\t{self._number(record.height, 'height')}\n"

    def audio_line(self, record: Audio) -> str:
        """Encode an audio record as one line. Raises like `image_line`."""
        number, cleaned, set_ = self._number, self.cleaned, record.audio_set
        fields = (
            self._common(record),
            number(record.duration, "duration"),
            number(record.bit_rate, "bit_rate"),
            number(record.sample_rate, "sample_rate"),
            genres_field(record.genres, cleaned) or NULL,
            audio_set_field(_as_json(set_), self._url_of_part, cleaned) or NULL,
            number(record.set_position, "set_position"),
            alt_files_field(_as_json(record.alt_files), self._url_of_part, cleaned) or NULL,
            self._text(dig(_as_json(set_), "foreign_identifier"), "audio_set_foreign_identifier", cut=False)
            or NULL,
        )
        return "\t".join(fields) + "\n"

    def _common(self, r: Media) -> str:
        license_ = r.license
        if license_ is None:
            raise Reject("missing license")
        fid, landing, url, creator_url, creator, title = self._texts_and_urls(r)
        kind = None
        if r.filetype is None and "?" not in url and "#" not in url:  # the URL ends with the path
            kind = self._extensions.get(url.rpartition(".")[2])
        if kind is None:
            kind = self._filetype(r.filetype, url)
        thumbnail = NULL if r.thumbnail is None else self._optional_url(r.thumbnail, "thumbnail")
        size = NULL if r.filesize is None else self._number(r.filesize, "filesize")
        tags, small = r.tags, self._small
        if tags:
            tags = plain_tags(tags, self.provider) or tags_field(tags, self.provider, self.cleaned)
        category, source, kind_of_ingestion = (
            r.category or self._category,
            r.source or self.provider,
            r.ingestion_type,
        )
        return (
            f"{fid}\t{landing}\t{url}\t{thumbnail}\t{kind}\t{size}\t{license_.slug}\t{license_.version}"
            f"\t{creator}\t{creator_url}\t{title}\t{self._meta(r.meta_data, license_)}\t{tags or NULL}"
            f"\t{small.get(category) or self._word(category, 'category')}\t{'t' if r.watermarked else 'f'}"
            f"\t{self.provider}\t{small.get(source) or self._word(source, 'source')}"
            f"\t{kind_of_ingestion or ('commoncrawl' if source == 'commoncrawl' else 'provider_api')}"
        )

    def _filetype(self, given: Json, url: str) -> str:
        kind = kind_of(given, url, self.media_type)
        if kind.is_other_media_type:
            raise Unwanted(OTHER_MEDIA_TYPE)
        return kind.filetype or NULL

    def _texts_and_urls(self, r: Media) -> tuple[str, str, str, str, str, str]:
        """Return identifier, landing URL, URL, creator URL, creator and title.

        All six are checked together; they are cleaned one by one only if one of them may need it.
        """
        fid, landing, url, creator_url, creator, title = (
            r.foreign_identifier,
            r.foreign_landing_url,
            r.url,
            r.creator_url,
            r.creator,
            r.title,
        )
        try:
            urls = "|".join((landing, url, creator_url or landing))
            texts = "|".join((fid, creator or "", title or "", ""))
        except TypeError:
            return self._clean_each(r)
        known = self._urls.known
        if (
            fid
            and landing
            and url
            and len(urls) <= 1000
            and urls.isprintable()
            and " " not in urls
            and '"' not in urls
            and "\\" not in urls
            and len(texts) <= 2000
            and texts.isprintable()
            and '"' not in texts
            and "\\" not in texts
            and "  " not in texts
            and " |" not in texts
            and "| " not in texts
            and texts[0] != " "
            and "<" not in texts
            and "&" not in texts
            and landing[: landing.find("/", 8) + 1] in known
            and url[: url.find("/", 8) + 1] in known
            and (not creator_url or creator_url[: creator_url.find("/", 8) + 1] in known)
            and not (self._urls.strip_slashes and ("/|" in urls or urls[-1] == "/"))
        ):
            if title and "." in title[-LONGEST_EXTENSION:]:
                title = without_extension(title)
            return fid, landing, url, creator_url or NULL, creator or NULL, title or NULL
        return self._clean_each(r)

    def _clean_each(self, r: Media) -> tuple[str, str, str, str, str, str]:
        if isinstance(r.foreign_identifier, bool | float):
            # A float may stand for several long identifiers, and 17.0 would be another record than 17.
            raise Reject("foreign_identifier is neither a text nor a whole number of 64 bits")
        fid = self._text(r.foreign_identifier, "foreign_identifier", cut=False, required=True)
        landing = self._required_url(r.foreign_landing_url, "foreign_landing_url")
        url = self._required_url(r.url, "url")
        if len(url) > MAX_URL_BYTES // 4 and len(url.encode()) > MAX_URL_BYTES:
            raise Reject("url too long")
        self._filetype(r.filetype, url)  # before anything is counted as cleaned
        creator_url = NULL if r.creator_url is None else self._optional_url(r.creator_url, "creator_url")
        return (
            fid,
            landing,
            url,
            creator_url,
            self._text(r.creator, "creator") or NULL,
            self._text(r.title, "title") or NULL,
        )

    def _required_url(self, value: Json, column: str) -> str:
        if value is None or value == "":
            raise Reject(f"missing {column}")
        if cleaned := self._urls.clean(value, SIZES[column]):
            return cleaned
        raise Reject(
            f"{column} too long"
            if type(value) is str and len(value) > SIZES[column]
            else f"{column} is not a URL"
        )

    def _optional_url(self, value: Json, column: str) -> str:
        if cleaned := self._urls.clean(value, SIZES[column]):
            return cleaned
        if value != "":
            self.cleaned[f"{column} is not a URL"] += 1
        return NULL

    def _url_of_part(self, value: object) -> str | None:
        """Clean the URL of an alternative file or audio set; slashes at the end are kept."""
        return self._urls.clean(value, SIZES["url"], strip_slashes=False)

    def _text(self, value: Json, column: str, cut: bool = True, required: bool = False) -> str:
        """Return clean, escaped text of at most the column's size; "" if there is none."""
        text, fault = text_for(column, value, cut)
        if fault:
            if required:
                raise Reject(fault)
            self.cleaned[fault] += 1
        if required and not text:
            raise Reject(f"missing {column}")
        return escape(text)

    def _number(self, value: Json, column: str) -> str:
        if type(value) is int and 0 < value <= MAX_INTEGER:  # valid in every column
            return str(value)
        if value is None:
            return NULL
        number, fault = number_for(column, value)
        if fault:
            self.cleaned[fault] += 1
        return NULL if number is None else str(number)

    def _word(self, value: Json, column: str) -> str:
        """Return a category or source; there are few, so each is cleaned once."""
        text = "" if value is None else tidy(value)
        return self._small.setdefault(value, escape(text) if 0 < len(text) <= SIZES[column] else NULL)

    def _meta(self, meta: JsonObject | None, license_: License) -> str:
        """Encode the metadata with the license URLs added."""
        license_keys = self._license_json.get(license_)
        if license_keys is None:
            urls = {"license_url": license_.url, "raw_license_url": license_.raw_url}
            license_keys = json_field({k: tidy(v) for k, v in urls.items() if v})[1:]
            self._license_json[license_] = license_keys
        if not meta or type(meta) is not dict:
            return "{" + license_keys
        own = plain_meta(meta) or meta_field(meta, self.cleaned)
        return own[:-1] + "," + license_keys if own != "{}" else "{" + license_keys


def _as_json(part: Json) -> Json:
    """Return the JSON of a set, or of a sequence of files."""
    if isinstance(part, AudioSet | AudioFile):
        return part.given()
    return [_as_json(one) for one in part] if isinstance(part, list | tuple) else part


def text_for(column: str, value: Json, cut: bool = True) -> tuple[str, str | None]:
    """Return the text that a column stores for a value.

    Args:
        column: A text column of `SIZES`.
        value: The provider's value, of any type.
        cut: Cut a text that is too long to the column's size instead of leaving it out.

    Returns:
        The text, or "" if there is none; and why the value is not stored as a whole, or None.
    """
    if isinstance(value, dict | list | tuple):
        return "", f"{column} is not text"
    text = "" if value is None else _CLEANING.get(column, tidy)(value if type(value) is str else str(value))
    if type(value) is str and is_undecoded(value):
        # Another record may have the rest of an identifier.
        return text[: SIZES[column]].rstrip() if cut else "", f"{column} {UNDECODED}"
    if len(text) <= SIZES[column]:
        return text, None
    return text[: SIZES[column]].rstrip() if cut else "", f"{column} too long"


def _title(text: str) -> str:
    return without_extension(plain(text))


_CLEANING: dict[str, Callable[[str], str]] = {"creator": creators, "title": _title}
