"""The columns of each media type: their order in TSV files, which ones are required, and their sizes.

Order and sizes follow version 001 of the image format and version 002 of the audio format.
"""

from catalog.core.media import MediaType

MIN_INTEGER, MAX_INTEGER = -2_147_483_648, 2_147_483_647
VERSIONS: dict[MediaType, str] = {"image": "001", "audio": "002"}
_COMMON = (
    "foreign_identifier",
    "foreign_landing_url",
    "url",
    "thumbnail",
    "filetype",
    "filesize",
    "license",
    "license_version",
    "creator",
    "creator_url",
    "title",
    "meta_data",
    "tags",
    "category",
    "watermarked",
    "provider",
    "source",
    "ingestion_type",
)
_AUDIO_ONLY = (
    "duration",
    "bit_rate",
    "sample_rate",
    "genres",
    "audio_set",
    "set_position",
    "alt_files",
    "audio_set_foreign_identifier",
)
COLUMNS: dict[MediaType, tuple[str, ...]] = {
    "image": (*_COMMON, "width", "height"),
    "audio": (*_COMMON, *_AUDIO_ONLY),
}
REQUIRED = ("foreign_identifier", "foreign_landing_url", "url", "license", "license_version")

INTEGERS = frozenset(("width", "height", "filesize", "duration", "bit_rate", "sample_rate", "set_position"))
JSON_COLUMNS = frozenset(("meta_data", "tags", "audio_set", "alt_files"))
# The columns of the catalog that have a width, in characters.
WIDTHS = {
    "license": 50,
    "license_version": 25,
    "filetype": 5,
    "provider": 80,
    "source": 80,
    "ingestion_type": 80,
    "category": 80,
}
# The longest value of a column, in characters. `url` also has a limit in bytes, because it has a unique btree
# index, whose entries hold about 2,700 bytes at most.
SIZES = {
    "foreign_identifier": 3000,
    "foreign_landing_url": 1000,
    "url": 3000,
    "thumbnail": 3000,
    "creator": 2000,
    "creator_url": 2000,
    "title": 5000,
    "category": WIDTHS["category"],
    "source": WIDTHS["source"],
    "audio_set_foreign_identifier": 1000,
}
MAX_URL_BYTES = 2600
