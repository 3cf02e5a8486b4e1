"""Internet Archive: releases whose files are one request each."""

import pytest

from catalog.provider_api import Audio, Skip
from catalog.providers.internet_archive.provider import InternetArchive
from catalog.tests.providers.mapped import record_of, records_of
from catalog.tests.providers.site import Pulled, Site, client_of
from catalog.tests.values import present

BY = "https://creativecommons.org/licenses/by/4.0/"
FILE = {"name": "a.mp3", "source": "original", "length": "1:05"}


def archive(*details):
    """A search of as many releases as there are details."""
    items = [{"identifier": f"release-{n}", "title": "x", "licenseurl": BY} for n in range(len(details))]

    def answer(method, url, params):
        if "/metadata/" in url:
            return details[int(url.rpartition("-")[2])]
        return {"items": items, "total": len(items)}

    return Site(answer)


def test_a_release_whose_files_are_not_all_listed_is_rejected_and_the_others_are_kept(tmp_path):
    good = {"files": [FILE], "files_count": 1}
    site = archive(good, {}, {"files": [FILE], "files_count": 2}, {"files": [], "files_count": 0}, good)
    pulled = Pulled(InternetArchive(), site, tmp_path)
    assert pulled.ids() == ["release-0/a.mp3", "release-4/a.mp3"]
    assert sum(pulled.counts.rejected.values()) == 3
    assert not pulled.counts.skipped


def test_a_withdrawn_release_counts_as_deleted(tmp_path):
    assert "withdrawn" in InternetArchive.deletion_reasons
    pulled = Pulled(
        InternetArchive(), archive({"files": [FILE], "files_count": 1}, {"is_dark": True}), tmp_path
    )
    assert pulled.counts.skipped == {"withdrawn": 1}


def test_a_license_that_is_not_kept_costs_no_request(tmp_path):
    site = archive({"files": [FILE], "files_count": 1})
    item = {"identifier": "release-0", "licenseurl": "https://example.org/terms"}
    assert InternetArchive().detail(item, client_of(site)) == item
    assert not site.asked


def tracks(*files, **release):
    """The tracks of a release with these files."""
    return [record_of(Audio, found) for found in records_of(mapped(*files, **release))]


def mapped(*files, **release):
    raw = {"identifier": "r", "licenseurl": BY, "files": list(files), **release}
    return InternetArchive().record(raw)


def test_files_of_one_original_are_one_track_whose_best_file_is_played():
    flac = {"name": "1.flac", "source": "original", "title": "One", "track": "1/9"}
    mp3 = {"name": "1.mp3", "source": "derivative", "original": "1.flac"}
    other = {"name": "2.mp3", "source": "original"}
    first, second = tracks(flac, mp3, other)
    assert [str(f.url).rpartition("/")[2] for f in (first, second)] == ["1.mp3", "2.mp3"]
    assert [file.url for file in present(first.alt_files)] == ["https://archive.org/download/r/1.flac"]
    assert (first.title, first.set_position, second.title, second.set_position) == ("One", "1", "2.mp3", None)
    assert first.foreign_identifier == "r/1.flac", "the original's name is the track's, whatever is played"


@pytest.mark.parametrize("file", [{"name": "a.jpg"}, {**FILE, "private": "true"}, {"name": "mp3"}])
def test_a_release_without_a_public_audio_file_is_skipped(file):
    assert mapped(file) == Skip("no audio file")


def test_subjects_and_creators_are_lists_or_texts():
    (track,) = tracks(FILE, subject="noise; tape", creator=["A", "B"])
    assert (track.tags, track.creator) == (["noise", "tape"], "A; B")
    (track,) = tracks(FILE, subject=["noise; tape", "rain"], creator="A")
    assert (track.tags, track.creator) == (["noise", "tape", "rain"], "A")


@pytest.mark.parametrize("original", [None, ["a.flac", "b.flac"]])
def test_a_file_that_was_not_made_from_one_original_is_a_track_of_its_own(original):
    (track,) = tracks({"name": "mix.mp3", "source": "derivative", "original": original})
    assert track.foreign_identifier == "r/mix.mp3"
