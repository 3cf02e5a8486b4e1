"""Reads the `imageinfo` of a file and its extended metadata, whose values are often HTML.

https://www.mediawiki.org/wiki/API:Imageinfo
"""

import re

from catalog.provider_api import Json, JsonObject, Raw, dig

# Templates add statements for Wikidata to the displayed text, in the notation of QuickStatements:
# `label QS:Len,"Harbour"`, `date QS:P571,+1891-00-00T00:00:00Z/9,P1480,Q5727902`.
STATEMENT = re.compile(
    r"""(?:(?:label|title|subtitle|description|date|creator|author|photographer|place|depicts)\ )?
        QS:(?:[LDA][a-z-]+|P\d*)(?:,(?:[a-z-]+:)?(?:"[^"]*"|&quot;.*?&quot;|[^\s,"<&]+))+""",
    re.VERBOSE,
)


def extra(info: Raw, key: str) -> Json:
    """Return a value of the extended metadata, or None."""
    return dig(info, "extmetadata", key, "value")


def html(info: Raw, key: str) -> Json:
    """Return an HTML value without the statements for Wikidata that templates add."""
    value = extra(info, key)
    return STATEMENT.sub("", value) if isinstance(value, str) else value


def title(name: Json) -> str | None:
    """Return a file's name without its namespace."""
    return name.removeprefix("File:") if isinstance(name, str) else None


def meta_data(page: Raw, info: Raw) -> JsonObject:
    """Return the values of a record that have no column of their own."""
    categories = extra(info, "Categories")
    found = {
        "global_usage_count": usage(page),
        "date_originally_created": html(info, "DateTimeOriginal"),
        "last_modified_at_source": extra(info, "DateTime"),
        "categories": categories.split("|") if categories else None,
        "description": html(info, "ImageDescription"),
        "latitude": extra(info, "GPSLatitude"),
        "longitude": extra(info, "GPSLongitude"),
        "map_datum": extra(info, "GPSMapDatum"),
    }
    return {key: value for key, value in found.items() if value is not None}


def usage(page: Raw) -> int | None:
    """Return on how many pages of other wikis a file is used; None if MediaWiki did not say.

    A load keeps the stored number then.
    """
    listed, counted = page.get("globalusage"), page.get("usage_so_far")
    known = [*([] if listed is None else [len(listed)]), *([] if counted is None else [counted])]
    return max(known, default=None)


def sound_facts(info: Raw) -> JsonObject:
    """Return the header of the first stream, which is at the top level for ogg, under `audio` for wav."""
    metadata = named(info.get("metadata"))
    streams = metadata.get("streams") or named(metadata.get("audio")).get("streams")
    stream = named(dig(streams, 0, "value"))
    return named(stream["header"]) if "header" in stream else stream


def named(pairs: Json) -> JsonObject:
    """Convert MediaWiki's list of {name, value} objects to a dict."""
    if not isinstance(pairs, list):
        return {}
    return {str(p["name"]): p.get("value") for p in pairs if isinstance(p, dict) and "name" in p}
