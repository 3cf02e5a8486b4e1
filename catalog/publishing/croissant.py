"""Croissant metadata of a version: what machine-learning tools read to find files and columns.

The files are found by a pattern below the folder of the metadata, so a version can be copied anywhere. Their
checksums are in the manifest.
"""

from typing import Any

import orjson

from catalog.core.media import MediaType
from catalog.publishing.columns import Column, Kind, columns
from catalog.publishing.manifest import Manifest

ABOUT = (
    "Records of openly licensed media: where each work is, who made it, and under which license. Each work "
    "is under the license that its record names; no license of the records as a whole is stated here, "
    "because they come from many sources. README.md has the numbers by source and license."
)
_TYPES: dict[Kind, str] = {
    "text": "sc:Text",
    "number": "sc:Integer",
    "decimal": "sc:Float",
    "boolean": "sc:Boolean",
    "time": "sc:Date",
    "json": "sc:Text",
    "names": "sc:Text",
}
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def croissant(manifest: Manifest) -> bytes:
    """Return the metadata of a version as JSON-LD."""
    media_types = [m for m in manifest.columns if manifest.rows.get(m)]
    document = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": "media-catalog",
        "description": ABOUT,
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "version": f"{manifest.version}.0.0",
        "datePublished": manifest.published_on,
        "citeAs": f"Media catalog, version {manifest.version}, {manifest.published_on[:10]}",
        "distribution": [
            {
                "@type": "cr:FileSet",
                "@id": f"{m}-files",
                "name": f"{m}-files",
                "description": f"Parquet files with the records of type {m}",
                "encodingFormat": "application/x-parquet",
                "includes": f"{m}/*/*.parquet",
            }
            for m in media_types
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": m,
                "name": m,
                "description": f"{manifest.rows[m]:,} records of type {m}",
                "key": {"@id": f"{m}/identifier"},
                "field": [_field(m, column) for column in columns(m)],  # type: ignore[arg-type]
            }
            for m in media_types
        ],
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2)


def _field(media_type: MediaType, column: Column) -> dict[str, Any]:
    own: dict[str, Any] = {
        "@type": "cr:Field",
        "@id": f"{media_type}/{column.name}",
        "name": column.name,
        "description": column.about,
    }
    if column.kind == "tags":
        return {
            **own,
            "repeated": True,
            "subField": [
                {
                    "@type": "cr:Field",
                    "@id": f"{media_type}/tags/{name}",
                    "name": name,
                    "description": f"{name} of the tag",
                    "dataType": "sc:Float" if name == "accuracy" else "sc:Text",
                    "source": {**_source(media_type, column), "transform": {"jsonPath": name}},
                }
                for name in ("name", "provider", "accuracy")
            ],
        }
    repeated = {"repeated": True} if column.kind == "names" else {}
    return {**own, **repeated, "dataType": _TYPES[column.kind], "source": _source(media_type, column)}


def _source(media_type: MediaType, column: Column) -> dict[str, Any]:
    return {"fileSet": {"@id": f"{media_type}-files"}, "extract": {"column": column.name}}
