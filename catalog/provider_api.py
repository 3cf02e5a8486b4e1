"""What a provider's file imports: the one module that a contributor needs to know."""

from catalog.core.errors import (
    CatalogError,
    Fatal,
    HttpStatus,
    KeyRefused,
    LoopDetected,
    Retry,
    StopsPull,
    UnexpectedResponse,
)
from catalog.core.jsontypes import Json, JsonObject, Params
from catalog.core.licenses import CC0, PDM, License, license_from_name, license_from_pair, license_from_url
from catalog.core.media import Category, MediaType
from catalog.core.secrets import Secret
from catalog.ingestion.cleaning import integer
from catalog.ingestion.client import Check, Client
from catalog.ingestion.completeness import Uncovered, parts_shortfall
from catalog.ingestion.counted import Counted
from catalog.ingestion.credentials import ApiKey, Signed
from catalog.ingestion.html import first_link, links, text_of
from catalog.ingestion.http_response import Decoded
from catalog.ingestion.links import Links, Tokens
from catalog.ingestion.oauth2 import OAuth2
from catalog.ingestion.pagination import (
    Cursor,
    Page,
    Paginator,
    RoundParams,
    lacking,
    once_more,
    request_count,
)
from catalog.ingestion.provider import FileSizes, Provider, Reingestion
from catalog.ingestion.rate import Quota, Rate
from catalog.ingestion.records import (
    Audio,
    AudioFile,
    AudioSet,
    Image,
    Media,
    Raw,
    RecordResult,
    Skip,
    as_list,
    audio_files,
    compact,
    dig,
    missing,
)
from catalog.ingestion.responses import (
    as_count,
    count_at,
    describe,
    has,
    items_at,
    total_of,
    value_at,
    values_at,
)
from catalog.ingestion.urls import without_param
from catalog.ingestion.values import milliseconds, size_in_bytes, tags_of, width_and_height
from catalog.ingestion.windows import Slicing, Window, narrowed

__all__ = [
    "CC0",
    "PDM",
    "ApiKey",
    "Audio",
    "AudioFile",
    "AudioSet",
    "CatalogError",
    "Category",
    "Check",
    "Client",
    "Counted",
    "Cursor",
    "Decoded",
    "Fatal",
    "FileSizes",
    "HttpStatus",
    "Image",
    "Json",
    "JsonObject",
    "KeyRefused",
    "License",
    "Links",
    "LoopDetected",
    "Media",
    "MediaType",
    "OAuth2",
    "Page",
    "Paginator",
    "Params",
    "Provider",
    "Quota",
    "Rate",
    "Raw",
    "RecordResult",
    "Reingestion",
    "Retry",
    "RoundParams",
    "Secret",
    "Signed",
    "Skip",
    "Slicing",
    "StopsPull",
    "Tokens",
    "Uncovered",
    "UnexpectedResponse",
    "Window",
    "as_count",
    "as_list",
    "audio_files",
    "compact",
    "count_at",
    "describe",
    "dig",
    "first_link",
    "has",
    "integer",
    "items_at",
    "lacking",
    "license_from_name",
    "license_from_pair",
    "license_from_url",
    "links",
    "milliseconds",
    "missing",
    "narrowed",
    "once_more",
    "parts_shortfall",
    "request_count",
    "size_in_bytes",
    "tags_of",
    "text_of",
    "total_of",
    "value_at",
    "values_at",
    "width_and_height",
    "without_param",
]
