"""Freesound: missing previews, failing file servers, packs, and limits of an ordinary key."""

import pytest
from requests import ReadTimeout

from catalog.core.errors import Retry
from catalog.core.secrets import Secret
from catalog.ingestion.credentials import KeyCredentials
from catalog.ingestion.rate import Quota
from catalog.ingestion.records import Audio, AudioSet
from catalog.providers.freesound.provider import Freesound
from catalog.providers.freesound.responses import FIELDS
from catalog.tests.providers.fake_api import walk
from catalog.tests.providers.mapped import record_of
from catalog.tests.providers.site import Pulled, Reply, Site, client_of
from catalog.tests.values import present

SEARCH = "https://freesound.org/apiv2/search/"


def sound(n, **over):
    found = dict.fromkeys(FIELDS.split(","))
    return {
        **found,
        "id": n,
        "url": f"https://freesound.org/people/mia/sounds/{n}/",
        "license": "http://creativecommons.org/licenses/by/4.0/",
        "username": "mia",
        "previews": {"preview-hq-mp3": f"https://cdn.freesound.org/previews/{n}-hq.mp3"},
        **over,
    }


def freesound(pages, files=lambda url: Reply(content_length=10), count=None):
    """A site whose search has these pages; files(url) answers what is asked of the file server."""

    def answer(method, url, params):
        if method == "HEAD":
            return files(url)
        assert url == SEARCH
        page = int(params["page"])
        if page > len(pages):
            return 404, {"detail": "Invalid page."}
        following = f"{SEARCH}?page={page + 1}" if page < len(pages) else None
        total = sum(map(len, pages)) if count is None else count
        return {"count": total, "next": following, "previous": None, "results": pages[page - 1]}

    return Site(answer)


@pytest.mark.parametrize("fault", [Reply(status=503), Reply(status=403), ReadTimeout("made up"), Reply()])
def test_a_file_server_at_fault_loses_no_sound(fault, tmp_path):
    """Only the size is not known then."""
    pulled = Pulled(Freesound(), freesound([[sound(1), sound(2)]], lambda url: fault), tmp_path)
    assert pulled.whole
    assert pulled.ids() == ["1", "2"]
    assert not any("filesize" in row for row in pulled.rows)


@pytest.mark.parametrize("status", [404, 410])
def test_a_sound_whose_preview_is_gone_is_left_out(status, tmp_path):
    def files(url):
        return Reply(status=status) if url.endswith("/2-hq.mp3") else Reply(content_length=12)

    pulled = Pulled(Freesound(), freesound([[sound(1), sound(2)], [sound(3)]], files), tmp_path)
    assert [(row["foreign_identifier"], row["filesize"]) for row in pulled.rows] == [("1", "12"), ("3", "12")]
    assert pulled.counts.skipped == {"preview not found": 1}
    assert set(pulled.counts.skipped) == set(Freesound.deletion_reasons)


def test_what_is_asked_of_whom():
    """One request a page, in a stable order, with the key; no key for the file server, none about packs."""
    pack = {"pack": "https://freesound.org/apiv2/packs/9001/", "pack_name": "Bells"}
    site = freesound([[sound(1, **pack), None], [sound(2, **pack)]])
    key = KeyCredentials(Freesound.key, Secret("KEY"), ["freesound.org"])
    items, _ = walk(Freesound(), client_of(site, credentials=key))
    assert len(items) == 3
    assert site.urls() == [SEARCH, SEARCH]
    assert len(site.urls("HEAD")) == 2
    for method, url, params, headers in site.asked:
        if url == SEARCH:
            assert headers["Authorization"] == "Token KEY"
            assert (params["sort"], params["filter"]) == ("created_asc", "created:[* TO NOW]")
            assert "pack_name" in params["fields"].split(",")
        else:
            assert method == "HEAD"
            assert "KEY" not in f"{params} {headers}"
    assert Freesound.quota == Quota(2_000, "day")
    assert Freesound.rate.interval == 1


def test_the_page_of_a_pack_is_below_that_of_its_owner():
    raw = sound(
        1, username="mia maker/é", pack="https://freesound.org/apiv2/packs/9001/", pack_name="Bells & more"
    )
    record = record_of(Audio, Freesound().record(raw))
    assert record.creator_url == "https://freesound.org/people/mia%20maker%2F%C3%A9/"
    assert record.audio_set == AudioSet(
        title="Bells & more",
        foreign_landing_url="https://freesound.org/people/mia%20maker%2F%C3%A9/packs/9001/",
        foreign_identifier="9001",
    )


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda s: s.pop("pack_name"), "no sound has pack_name"),
        (lambda s: s.pop("previews"), "no sound has previews"),
        (lambda s: s.update(pack={"id": 9001}), "`pack` should be an address that ends in a number"),
    ],
)
def test_a_field_that_no_sound_has_any_more_is_noticed(change, error, tmp_path):
    sounds = [sound(1), None, sound(2)]
    for one in sounds:
        if one:
            change(one)
    site = freesound([sounds])
    with pytest.raises(Retry, match=error):
        Pulled(Freesound(), site, tmp_path)
    assert len(site.asked) == 1 + Freesound.retries


def test_a_search_that_ends_early_is_not_whole(tmp_path):
    pulled = Pulled(Freesound(), freesound([[sound(1)], [sound(2)]], count=50), tmp_path)
    assert "2 of 50 announced items came" in present(pulled.error)
    assert pulled.ids() == ["1", "2"]


def test_an_answer_without_next_is_an_error(tmp_path):
    site = Site(lambda *_: {"count": 1, "results": [sound(1)]})
    with pytest.raises(Retry, match="`next`, which says whether a page follows, is missing"):
        Pulled(Freesound(), site, tmp_path)
