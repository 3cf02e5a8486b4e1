"""Jamendo: failures with status 200, singles, and album pages that are missing or fail."""

import pytest
from requests import ReadTimeout

from catalog.core.errors import Fatal, HttpStatus, Retry, UnexpectedResponse
from catalog.providers.jamendo import responses
from catalog.providers.jamendo.provider import Jamendo
from catalog.providers.jamendo.responses import MAX_FAULTS, Albums, check
from catalog.tests.providers.site import Pulled, Reply, Site, client_of
from catalog.tests.values import present

TRACKS = "https://api.jamendo.com/v3.0/tracks"


def envelope(tracks, **headers):
    told = {"status": "success", "code": 0, "error_message": "", "warnings": "", "results_count": len(tracks)}
    return {"headers": {**told, **headers}, "results": tracks}


def track(n, album="9100", **over):
    return {
        "id": str(n),
        "name": f"Song {n}",
        "artist_name": "The Examples",
        "album_id": album,
        "album_name": album and f"Album {album}",
        "position": 7,
        "license_ccurl": "http://creativecommons.org/licenses/by/3.0/",
        "audio": f"https://prod-1.storage.jamendo.com/?trackid={n}&format=mp32&from=us",
        "shareurl": f"https://www.jamendo.com/track/{n}",
        **over,
    }


def jamendo(tracks, albums=lambda url: Reply(), page=2, fullcount=True):
    """A site with these tracks, some on each page; albums(url) answers for the page of an album."""

    def answer(method, url, params):
        if url != TRACKS:
            return albums(url)
        at = int(params["offset"])
        total = {"results_fullcount": len(tracks)} if fullcount else {}
        return envelope(tracks[at : at + page], **total)

    return Site(answer)


def failure(code, text="made up"):
    return envelope([], status="failed", code=code, error_message=text)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (5, Fatal),
        ("5", Fatal),
        (11, Fatal),
        (3, Fatal),
        (6, Retry),
        (1, UnexpectedResponse),
        (99, UnexpectedResponse),
        (None, UnexpectedResponse),
        ("?", UnexpectedResponse),
    ],
)
def test_failures_with_status_200(code, error):
    with pytest.raises(error, match=r"Jamendo answered status 'failed', code .*: made up") as raised:
        check(failure(code))
    assert isinstance(raised.value, Retry) == (error is not Fatal)
    assert getattr(raised.value, "retry_after", None) == (60 if code == 6 else None)


def test_a_wrong_id_ends_a_pull_at_once_as_an_error(tmp_path):
    site = Site(lambda *_: failure(5, "Your credential is not authorized."))
    with pytest.raises(Fatal, match="Your credential is not authorized"):
        Pulled(Jamendo(), site, tmp_path)
    assert len(site.asked) == 1


def test_a_limit_that_is_exceeded_for_a_while_costs_nothing(tmp_path):
    honest, asked = jamendo([track(1)]), []

    def busy_once(*request):
        asked.append(request)
        return failure(6) if len(asked) == 1 else honest.answer(*request)

    assert Pulled(Jamendo(), Site(busy_once), tmp_path).whole


@pytest.mark.parametrize("count", [1, 3, None, "many"])
def test_a_list_of_another_length_than_is_said(count):
    with pytest.raises(UnexpectedResponse, match="results_count"):
        check(envelope([track(1), track(2)], results_count=count))


def test_warnings_are_logged_once(caplog):
    responses._warn.cache_clear()
    for _ in range(3):
        check(envelope([], warnings="the parameter 'fullcount' is ignored"))
    assert [r.getMessage() for r in caplog.records] == ["Jamendo warns: the parameter 'fullcount' is ignored"]


def test_singles_are_asked_for_and_have_no_album(tmp_path):
    site = jamendo([track(1), track(2, album="", position=0)])
    pulled = Pulled(Jamendo(), site, tmp_path)
    assert pulled.whole
    album, single = pulled.rows
    assert (album["audio_set_foreign_identifier"], album["set_position"]) == ("9100", "7")
    assert not {"audio_set", "audio_set_foreign_identifier", "set_position"} & single.keys()
    for _, url, params, _ in site.asked:
        if url == TRACKS:
            assert (params["type"], params["order"], params["fullcount"]) == (
                "single albumtrack",
                "id",
                "true",
            )


@pytest.mark.parametrize("fullcount", [True, False])
def test_the_total_may_be_missing(fullcount, tmp_path):
    pulled = Pulled(Jamendo(), jamendo([track(n) for n in range(1, 6)], fullcount=fullcount), tmp_path)
    assert pulled.whole
    assert len(pulled.rows) == 5


def test_fewer_tracks_than_are_announced_are_not_whole(tmp_path):
    def answer(method, url, params):
        listed = [track(1)] if params.get("offset") == "0" else []
        return envelope(listed, results_fullcount=500) if url == TRACKS else Reply()

    pulled = Pulled(Jamendo(), Site(answer), tmp_path)
    assert "1 of 500 announced items came" in present(pulled.error)
    assert pulled.ids() == ["1"]


def address(row):
    return row["audio_set"]["foreign_landing_url"]


@pytest.mark.parametrize("fault", [Reply(status=503), Reply(status=403), ReadTimeout("made up")])
def test_an_album_page_whose_server_is_at_fault_is_asked_for_again(fault, tmp_path):
    """The tracks of the first page lack the album's address; those of the second have it."""
    site = jamendo([track(n) for n in (1, 2, 3, 4)], lambda url: fault if at_fault() else Reply())

    def at_fault():
        return not any(params.get("offset") == "2" for _, _, params, _ in site.asked)

    pulled = Pulled(Jamendo(), site, tmp_path)
    assert pulled.whole
    there = "https://www.jamendo.com/album/9100/album-9100"
    assert [address(row) for row in pulled.rows] == [None, None, there, there]


@pytest.mark.parametrize("status", [404, 410])
def test_an_album_that_is_gone_is_asked_for_once(status, tmp_path):
    site = jamendo([track(n) for n in (1, 2, 3, 4)], lambda url: Reply(status=status))
    pulled = Pulled(Jamendo(), site, tmp_path)
    assert [address(row) for row in pulled.rows] == [None] * 4
    assert len([url for url in site.urls() if "/album/" in url]) == 1


def test_an_album_page_that_leads_elsewhere_is_no_address(tmp_path):
    def albums(url):
        return Reply() if url.endswith(".com/") else Reply(status=302, location="https://www.jamendo.com/")

    pulled = Pulled(Jamendo(), jamendo([track(1)], albums), tmp_path)
    assert [address(row) for row in pulled.rows] == [None]


def test_a_site_that_is_down_is_not_asked_for_every_album(tmp_path):
    site = jamendo([track(n, album=f"{n}") for n in range(1, 101)], lambda url: Reply(status=500), page=50)
    pulled = Pulled(Jamendo(), site, tmp_path)
    assert pulled.whole
    assert len(pulled.rows) == 100
    albums = {url for url in site.urls() if "/album/" in url}
    assert len(albums) <= 2 * (MAX_FAULTS + 4)  # a page, and threads that had begun


def test_addresses_of_albums_survive_that_the_memory_is_cleared(monkeypatch):
    monkeypatch.setattr(responses, "MAX_ALBUMS", 1)
    albums, client = Albums(), client_of(Site(lambda *_: Reply()))
    pages = [f"https://www.jamendo.com/album/{n}/x" for n in range(3)]
    for _ in range(2):
        assert albums.addresses(pages, client) == {page: page for page in pages}


def test_an_answer_that_a_recording_lacks_is_no_fault_of_the_site():
    from catalog.core.errors import UnrecordedRequest

    with pytest.raises(UnrecordedRequest):
        Albums().addresses(
            ["https://www.jamendo.com/album/1/x"], client_of(Site(lambda *_: UnrecordedRequest("none")))
        )
    assert not issubclass(HttpStatus, UnrecordedRequest)
