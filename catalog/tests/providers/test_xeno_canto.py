"""xeno-canto: everything, or what was uploaded since a day; recordings without a public file."""

from datetime import date

import pytest

from catalog.ingestion.windows import day_window
from catalog.provider_api import Audio, Skip
from catalog.providers.xeno_canto.provider import XenoCanto
from catalog.tests.providers.mapped import record_of
from catalog.tests.providers.site import Pulled, Site
from catalog.tests.values import present


def recording(number, **more):
    return {
        "id": f"{number}",
        "url": f"//xeno-canto.org/{number}",
        "file": f"https://xeno-canto.org/{number}/download",
        "lic": "//creativecommons.org/licenses/by-nc-nd/4.0/",
        **more,
    }


def xeno_canto(total):
    def answer(method, url, params):
        return {"numRecordings": total, "numPages": 1, "recordings": [recording(1), recording(2)]}

    return Site(answer)


@pytest.mark.parametrize(
    ("window", "query"),
    [(None, "nr:1-99999999"), (day_window(date(2024, 2, 10)), "nr:1-99999999 since:2024-02-10")],
)
def test_the_search_covers_all_catalog_numbers(window, query, tmp_path):
    site = xeno_canto("2")
    pulled = Pulled(XenoCanto(), site, tmp_path, window=window)
    assert pulled.ids() == ["1", "2"]
    assert [params["query"] for _, _, params, _ in site.asked] == [query]


def test_pages_that_do_not_hold_what_is_announced_are_not_whole(tmp_path):
    assert "2 of 30 announced items came" in present(Pulled(XenoCanto(), xeno_canto("30"), tmp_path).error)


def test_a_recording_without_a_public_file_is_skipped():
    assert XenoCanto().record(recording(1, file="")) == Skip("no file")


@pytest.mark.parametrize(
    ("names", "title", "tags"),
    [
        (
            {"en": "Tit", "gen": "Parus", "sp": "major", "ssp": "minor"},
            "Tit (Parus major minor)",
            ["Tit", "Parus major minor"],
        ),
        ({"en": "", "gen": "Parus", "sp": "major", "ssp": ""}, "Parus major", ["Parus major"]),
        ({"en": "Soundscape", "gen": "", "sp": None}, "Soundscape", ["Soundscape"]),
        ({}, "", []),
    ],
)
def test_title_and_tags_name_the_species(names, title, tags):
    audio = record_of(Audio, XenoCanto().record(recording(1, **names)))
    assert (audio.title, audio.tags) == (title, tags)


@pytest.mark.parametrize(("name", "filetype"), [("XC1-a.b.WAV", "wav"), ("", None), (None, None)])
def test_the_file_type_is_that_of_the_uploaded_name(name, filetype):
    assert record_of(Audio, XenoCanto().record(recording(1, **{"file-name": name}))).filetype == filetype
