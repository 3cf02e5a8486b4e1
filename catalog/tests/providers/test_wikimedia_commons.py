"""The mapping of a file on Wikimedia Commons."""

import orjson
import pytest

from catalog.core.columns import COLUMNS
from catalog.ingestion.records import Audio, Image
from catalog.ingestion.tsv import Encoder
from catalog.ingestion.urls import UrlCleaner
from catalog.providers.wikimedia_commons.imageinfo import sound_facts, title
from catalog.providers.wikimedia_commons.provider import WikimediaCommons
from catalog.tests.providers.mapped import record_of
from catalog.tests.values import present


def test_the_counted_usage_is_kept():
    info = {
        "mediatype": "BITMAP",
        "url": "https://upload.wikimedia.org/x.jpg",
        "descriptionshorturl": "https://commons.wikimedia.org/?curid=1",
        "extmetadata": {"LicenseUrl": {"value": "https://creativecommons.org/licenses/by/4.0"}},
    }
    raw = {"pageid": 1, "title": "File:X.jpg", "imageinfo": [info], "usage_so_far": 100}
    record = record_of(Image, WikimediaCommons().record(raw))
    assert present(record.meta_data)["global_usage_count"] == 100
    assert record.title == "X.jpg"  # the encoder drops the extension, of every provider's titles


def test_wav_and_ogg_tell_their_facts_in_different_places():
    def named(**pairs):
        return [{"name": k, "value": v} for k, v in pairs.items()]

    wav = {
        "metadata": named(
            audio=named(streams=[{"name": 0, "value": named(sample_rate=48000, bitrate=768000, channels=1)}])
        )
    }
    assert sound_facts(wav) == {"sample_rate": 48000, "bitrate": 768000, "channels": 1}
    assert sound_facts({"metadata": None}) == sound_facts({}) == {}


def test_titles():
    assert title("File:A.b.JPEG") == "A.b.JPEG"
    assert title("Sound.wav") == "Sound.wav"
    assert title(None) is None


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ('<i>Night</i> label QS:Len,"Night in Nice"', "Night"),
        ('Nacht label QS:Lde,"Die Nacht" label QS:Lzh-hans,"夜"', "Nacht"),
        ("1891date QS:P571,+1891-00-00T00:00:00Z/9", "1891"),
        ("1891<div style='display: none'>date QS:P,+1891-00-00T00:00:00Z/9</div>", "1891"),
        ("about 1650 date QS:P571,+1650-00-00T00:00:00Z/9,P1480,Q5727902 (print)", "about 1650 (print)"),
        ("Harbour title QS:P1476,en:&quot;Harbour, by night&quot;", "Harbour"),
        ("<a href='//x.org'>Ann</a> creator QS:P170,Q4233718", "Ann"),
        ("The label QS: is odd", "The label QS: is odd"),
        ("QS:L", "QS:L"),
    ],
)
def test_statements_for_wikidata_are_not_shown(value, stored):
    keys = ("ObjectName", "Artist", "DateTimeOriginal", "ImageDescription")
    info = {
        "mediatype": "BITMAP",
        "url": "https://upload.wikimedia.org/x.jpg",
        "descriptionshorturl": "https://commons.wikimedia.org/?curid=1",
        "extmetadata": {
            "LicenseUrl": {"value": "https://creativecommons.org/licenses/by/4.0"},
            **{key: {"value": value} for key in keys},
        },
    }
    record = WikimediaCommons().record({"pageid": 1, "title": "File:X.jpg", "imageinfo": [info]})
    row = dict(
        zip(COLUMNS["image"], Encoder("image", "x", UrlCleaner()).line(record).split("\t"), strict=True)
    )
    meta = orjson.loads(row["meta_data"])
    texts = (row["title"], row["creator"], meta["date_originally_created"], meta["description"])
    assert texts == (stored,) * 4


def test_a_name_without_visible_text_is_none():
    info = {
        "mediatype": "AUDIO",
        "url": "https://upload.wikimedia.org/x.ogg",
        "descriptionshorturl": "https://commons.wikimedia.org/?curid=1",
        "extmetadata": {
            "LicenseUrl": {"value": "https://creativecommons.org/licenses/by/4.0"},
            "ObjectName": {"value": "<div style='display: none'>label QS:Len,\"X\"</div>"},
        },
    }
    record = record_of(
        Audio, WikimediaCommons().record({"pageid": 1, "title": "File:X.ogg", "imageinfo": [info]})
    )
    assert (record.title, record.duration) == ("X.ogg", None)
