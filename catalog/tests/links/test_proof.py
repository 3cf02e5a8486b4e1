"""Two thousand files over six weeks: exactly those that are gone are marked, at a polite rate."""

from collections import Counter
from datetime import timedelta
from itertools import pairwise

import pytest

from catalog.core.errors import Later
from catalog.links import answers
from catalog.links.conclude import conclude
from catalog.links.judging import IN_A_ROW, SHARED_TARGET, STOPPED
from catalog.links.pauses import Pauses, PauseTable
from catalog.links.plan import Survey, plan
from catalog.links.survey import check_links
from catalog.tests.links.site import BEGIN, CLOSED, MISSING, THERE, Clock, Reply, checker, site

pytestmark = [pytest.mark.database, pytest.mark.enable_socket]
FILES, RATE = 2000, 4.0
WEEK = timedelta(weeks=1).total_seconds()
DOWN = (60.0, 3660.0)  # seconds of the first run
RULES = Reply(200, {"Content-Type": "text/plain"}, b"User-agent: *\nDisallow: /hidden/\n")
# Kind → numbers of its files.
KINDS = {
    "gone": range(100),
    "gone_410": range(100, 120),
    "gone_without_head": range(120, 140),  # HEAD is refused
    "gone_elsewhere": range(140, 150),  # a redirect to a 404 of another host
    "placeholder": range(150, 170),  # a redirect of all of them to one file
    "hidden": range(170, 190),  # gone, but robots.txt forbids to look
    "flapping": range(190, 220),  # gone in every second week
    "back": range(220, 240),  # gone for three weeks
    "head_only": range(240, 260),  # HEAD says 404, GET does not
    "no_head": range(260, 300),
    "slow": range(300, 302),
    "broken": range(302, 322),  # 500
    "refused": range(322, 342),
    "page": range(342, 362),  # a web page instead of the file
    "moved": range(362, 372),  # a redirect to the file at another host
}
KIND = {number: kind for kind, numbers in KINDS.items() for number in numbers}
GONE = {n for n, kind in KIND.items() if kind in ("gone", "gone_410", "gone_without_head", "gone_elsewhere")}
ROWS = """
    insert into image (identifier, created_on, updated_on, provider, source, foreign_identifier,
                       foreign_landing_url, url, license, filesize, removed_from_source)
    select md5(n::text)::uuid, now(), '2024-01-01', 'files', 'files', n, 'https://example.org/' || n,
           %s || case when n between 170 and 189 then '/hidden/' else '/' end || n, 'by', 5 + n %% 2, false
      from generate_series(0, %s) n
"""


class World:
    """The server, at a time."""

    def __init__(self, clock):
        self.clock, self.elsewhere = clock, ""

    def __call__(self, method, path):
        number, week = path.rpartition("/")[2], int(self.clock.time() // WEEK)
        if DOWN[0] < self.clock.time() < DOWN[1]:
            return CLOSED
        if path == "/robots.txt":
            return RULES
        kind = KIND.get(int(number), "there") if number.isdigit() else "there"
        if path == "/nothing":
            return MISSING
        if path.startswith("/moved/"):
            return THERE
        if kind == "moved":
            return Reply(302, {"Location": f"{self.elsewhere}/moved/{number}"})
        return self.reply(kind, method, week)

    def reply(self, kind, method, week):
        away = {"flapping": week % 2 == 0, "back": week < 4, "head_only": method == "HEAD"}
        fixed = {
            "gone": MISSING,
            "gone_410": Reply(410),
            "gone_without_head": Reply(405) if method == "HEAD" else MISSING,
            "gone_elsewhere": Reply(302, {"Location": f"{self.elsewhere}/nothing"}),
            "placeholder": Reply(302, {"Location": "/placeholder.jpg"}),
            "hidden": MISSING,
            "no_head": Reply(403) if method == "HEAD" else THERE,
            "slow": Reply(after=2.5),
            "broken": Reply(500),
            "refused": Reply(403),
            "page": Reply(200, {"Content-Type": "text/html"}),
        }
        return fixed.get(kind) or (MISSING if away.get(kind) else THERE)


def survey_week(catalog, clock, check, week, slices=0, most_removed=0.1):
    clock.go_to(weeks=week)
    one = Survey(f"week {week}", "image", "files", 1 if slices else 0, slices)
    assert plan(catalog, one, now=clock.now(), size=150, again=1000)
    while True:  # as the task is rescheduled
        pauses = Pauses(PauseTable(lambda: catalog, str(one)), str(one), clock.now)
        try:
            check_links(
                catalog, one, check, pauses, now=clock.now, clock=clock.time, sleep=clock.sleep, workers=1
            )
            break
        except Later as error:
            clock.go_to(seconds=(error.resumes_at - BEGIN).total_seconds())
    return conclude(catalog, one, now=clock.now, most_removed=most_removed)


def test_exactly_those_that_are_gone_are_marked(catalog):
    clock = Clock()
    world = World(clock)
    with site(world, clock) as server:
        world.elsewhere = server.url("", "localhost")
        catalog.execute(ROWS, [server.url(""), FILES - 1])
        catalog.execute("analyze image")
        check = checker(clock, per_second=RATE, timeout=1.0).check
        first = survey_week(catalog, clock, check, 0, slices=1)
        reasons = Counter(
            dict(catalog.execute("select coalesce(reason, outcome), count(*) from link_check group by 1"))
        )
        assert reasons == {
            "there": FILES - len(KIND) + 20 + 40 + 10,
            "gone": len(GONE) + 30 + 20,
            SHARED_TARGET: 20,
            answers.ROBOTS: 20,
            answers.TIMEOUT: 2,
            answers.SERVER_ERROR: 20,
            answers.REFUSED: 20,
            answers.OTHER_CONTENT: 20,
        }
        assert (first.gone, first.removed) == (len(GONE) + 50, 0)
        assert first.resized == pytest.approx(first.there / 2, abs=20)
        removed = [survey_week(catalog, clock, check, week).removed for week in range(1, 6)]
    marked = {
        int(number)
        for (number,) in catalog.execute("select foreign_identifier from image where removed_from_source")
    }
    assert marked == GONE
    assert sum(removed) == len(GONE)
    assert removed[:3] == [0, 0, 0]
    assert catalog.execute("select count(*) from link_removal where ended_on is null").fetchone() == (
        len(GONE),
    )
    touched = "select count(*), bool_and(removed_from_source) from image where updated_on > '2024-01-01'"
    assert catalog.execute(touched).fetchone() == (len(GONE), True)
    for host in ("127.0.0.1", "localhost"):
        moments = [moment for moment, asked, _, _ in server.requests if asked == host]
        assert len(moments) > 10
        fastest = min(later - earlier for earlier, later in pairwise(moments))
        assert fastest >= 1 / RATE - 1e-6


def test_nothing_is_marked_while_the_host_behind_redirects_says_404_for_everything(catalog):
    """The files that the first host has itself do not vouch for the other one."""
    clock = Clock()

    def reply(method, path):
        if path == "/robots.txt" or path.startswith("/store/"):
            return MISSING
        number = int(path[1:])
        moved = {"Location": server.url(f"/store/{number}", "localhost")}
        return Reply(302, moved) if number % 5 < 2 else THERE

    with site(reply, clock) as server:
        catalog.execute(ROWS.replace("170 and 189", "-2 and -1"), [server.url(""), 99])
        check = checker(clock).check
        found = [survey_week(catalog, clock, check, week) for week in range(6)]
    assert {(one.there, one.gone, one.estimate, one.removed) for one in found} == {(60, 0, None, 0)}
    assert catalog.execute("select count(*) from image where removed_from_source").fetchone() == (0,)
    hosts = "select host, outcome, count(*) from link_check where run_id = 'week 5' group by 1, 2 order by 1"
    assert catalog.execute(hosts).fetchall() == [("127.0.0.1", "there", 60), ("localhost", "unclear", 40)]


class Banning:
    """A host that has all of its files but some, and says 404 for each from one request to another."""

    def __init__(self, first, last=10**9, gone=0):
        self.first, self.last, self.gone = first, last, gone
        self.requests = 0  # since the beginning of a run

    def __call__(self, method, path):
        if path == "/robots.txt":
            return MISSING
        self.requests += 1
        banned = self.first <= self.requests < self.last
        return MISSING if banned or int(path[1:]) < self.gone else THERE

    def weeks(self, catalog, files, number):
        """Check all files each week."""
        clock, found = Clock(), []
        with site(self, clock) as server:
            catalog.execute(ROWS.replace("170 and 189", "-2 and -1"), [server.url(""), files - 1])
            check = checker(clock).check
            for week in range(number):
                self.requests = 0
                found.append(survey_week(catalog, clock, check, week, slices=1))
        return found


@pytest.mark.parametrize(("files", "requests"), [(200, 120), (200, 195), (12, 9)])
def test_a_host_that_answers_404_to_a_client_that_has_asked_too_often(catalog, files, requests):
    """As firewalls do in place of 429. Other files are the last ones each week, and still none is gone."""
    found = Banning(requests).weeks(catalog, files, 6)
    assert {(one.gone, one.removed) for one in found} == {(0, 0)}
    reasons = {STOPPED, None}
    query = "select distinct reason from link_check where reason is distinct from %s"
    assert {reason for (reason,) in catalog.execute(query, [IN_A_ROW])} == reasons


def test_a_host_that_answers_404_to_everything_for_a_while(catalog):
    """And then works again, so that it answers for files that were there. Those that are gone are known."""
    [found] = Banning(200, 260, gone=20).weeks(catalog, 300, 1)
    rows = catalog.execute("select url from link_check where outcome = 'gone'")
    known = {int(url.rpartition("/")[2]) for (url,) in rows}
    assert known < {*range(20)}
    assert len(known) == found.gone > 10
    [(number,)] = catalog.execute("select count(*) from link_check where reason = %s", [IN_A_ROW])
    assert number + found.gone + found.there == 300


@pytest.mark.parametrize("gone", [3, 30, 90])
def test_gone_files_in_random_order_are_gone(catalog, gone):
    [found] = Banning(10**9, gone=gone).weeks(catalog, 200, 1)
    assert (found.gone, found.there) == (gone, 200 - gone)


def test_nothing_comes_back_while_the_host_says_yes_to_everything(catalog):
    """One picture for all, of another size than theirs, and no redirect."""
    clock, sorry = Clock(), Reply(200, {"Content-Type": "image/png"}, b"sorry" * 9)

    def reply(method, path):
        week = clock.time() // WEEK
        if path == "/robots.txt" or (week < 6 and int(path[1:]) < 20):
            return MISSING
        return sorry if 6 <= week < 10 else THERE

    with site(reply, clock) as server:
        catalog.execute(ROWS.replace("170 and 189", "-2 and -1"), [server.url(""), 99])
        check = checker(clock).check
        found = [survey_week(catalog, clock, check, week, most_removed=0.2) for week in range(12)]
    # In each run, a file is checked at another moment: four weeks may be five runs or six.
    assert sum(one.removed for one in found[4:6]) == sum(one.removed for one in found) == 20
    assert [one.back for one in found] == [0] * 11 + [20]
    assert [one.estimate is None for one in found] == [False] * 6 + [True] * 4 + [False] * 2


def test_nothing_is_marked_while_the_host_says_404_for_everything(catalog):
    clock = Clock()

    def reply(method, path):
        everything = clock.time() > WEEK
        gone = everything or path in ("/robots.txt", "/3", "/4")
        return MISSING if gone else THERE

    with site(reply, clock) as server:
        catalog.execute(ROWS, [server.url(""), 99])
        check = checker(clock).check
        survey_week(catalog, clock, check, 0, slices=1)
        found = [survey_week(catalog, clock, check, week) for week in range(1, 7)]
    assert {(one.gone, one.removed) for one in found} == {(0, 0)}
    assert catalog.execute("select count(*) from image where removed_from_source").fetchone() == (0,)
