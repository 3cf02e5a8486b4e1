"""Hosts in trouble are paused and tried again; others go on."""

import threading
from collections import Counter, defaultdict

import pytest

from catalog.core.errors import Interrupted
from catalog.links import answers
from catalog.links.answers import Verdict, unclear
from catalog.links.visits import PATIENCE, PAUSES, Link, Visits
from catalog.tests.links.site import Clock

FINE = Verdict("there", None, 200)


class Hosts:
    """Hosts without a network: what a check finds depends on the URL and the time."""

    def __init__(self, reply, clock=None):
        self.reply, self.clock = reply, clock or Clock()
        self.found, self.asked = {}, defaultdict(list)

    def check(self, url):
        self.clock.sleep(0.1)
        self.asked[url].append(self.clock.time())
        return self.reply(url, self.clock.time())

    def save(self, link, found):
        assert link.number not in self.found
        self.found[link.number] = found

    def visit(self, *hosts, each=20, **options):
        links = [Link(100 * n + k, f"{host}/{k}", host) for n, host in enumerate(hosts) for k in range(each)]
        options = {"clock": self.clock.time, "sleep": self.clock.sleep, "workers": 1, **options}
        Visits(self.check, self.save, **options).run(links)
        assert self.found.keys() == {link.number for link in links}
        return Counter(found.reason or found.outcome for found in self.found.values())


def test_all_is_well():
    hosts = Hosts(lambda url, now: FINE)
    assert hosts.visit("a", "b") == {"there": 40}
    assert hosts.clock.time() < 5


@pytest.mark.parametrize(
    "trouble",
    [unclear(reason) for reason in sorted(answers.PASSING)] + [unclear(answers.BUSY, 429, 600.0)],
    ids=str,
)
def test_an_outage_of_an_hour_costs_no_record(trouble):
    hosts = Hosts(lambda url, now: trouble if url[0] == "a" and 0.5 < now < 3600 else FINE)
    assert hosts.visit("a", "b") == {"there": 40}
    assert max(hosts.asked["b/19"]) < 60  # others do not wait
    while_away = sum(
        0.5 < moment < 3600 for url in hosts.asked if url[0] == "a" for moment in hosts.asked[url]
    )
    assert while_away < 12


def test_a_host_that_stays_silent_is_given_up():
    hosts = Hosts(lambda url, now: unclear(answers.TIMEOUT) if url[0] == "a" else FINE)
    assert hosts.visit("a", "b") == {"there": 20, answers.TIMEOUT: 20}
    assert PATIENCE - max(PAUSES) < hosts.clock.time() < PATIENCE + max(PAUSES)
    assert sum(len(asked) for url, asked in hosts.asked.items() if url[0] == "a") < 12


def test_a_link_that_fails_alone_costs_only_itself():
    hosts = Hosts(lambda url, now: unclear(answers.SERVER_ERROR, 500) if url.endswith("/3") else FINE)
    assert hosts.visit("a", each=50)[answers.SERVER_ERROR] <= 1
    assert hosts.found[3].reason == answers.SERVER_ERROR
    assert hosts.found[4].outcome == "there"


def test_neighbours_that_fail_do_not_cost_their_host():
    broken = {f"a/{n}" for n in range(40, 60)}
    hosts = Hosts(lambda url, now: unclear(answers.SERVER_ERROR, 500) if url in broken else FINE)
    assert hosts.visit("a", each=100) == {"there": 80, answers.SERVER_ERROR: 20}


def test_too_many_requests_never_count_as_fine_and_are_tried_again():
    def reply(url, now):
        asked = sum(map(len, hosts.asked.values()))
        return unclear(answers.BUSY, 429) if asked % 5 in (1, 2) else FINE

    hosts = Hosts(reply)
    assert hosts.visit("a", each=20) == {"there": 20}
    moments = sorted(moment for asked in hosts.asked.values() for moment in asked)
    assert moments[1] - moments[0] >= PAUSES[0]


def test_retry_after_is_honoured_and_a_very_long_one_ends_the_host():
    hosts = Hosts(lambda url, now: unclear(answers.BUSY, 429, 700.0) if now < 1 else FINE)
    assert hosts.visit("a", each=2) == {"there": 2}
    assert not [moment for asked in hosts.asked.values() for moment in asked if 1 < moment < 700]
    hosts = Hosts(lambda url, now: unclear(answers.BUSY, 503, 86_400.0))
    assert hosts.visit("a", each=9) == {answers.BUSY: 9}
    assert hosts.clock.time() < 1
    assert [found.status for found in hosts.found.values()] == [None] * 9


def test_one_request_at_a_time_for_each_host_whatever_the_number_of_workers():
    active, most, lock = Counter[str](), Counter[str](), threading.Lock()

    def reply(url, now):
        with lock:
            active[url[0]] += 1
            most[url[0]] = max(most[url[0]], active[url[0]])
        with lock:
            active[url[0]] -= 1
        return FINE

    assert Hosts(reply).visit(*"abcdefgh", workers=6) == {"there": 160}
    assert set(most.values()) == {1}


def test_a_stop_keeps_what_is_done_and_an_error_ends_all():
    hosts = Hosts(lambda url, now: FINE)
    with pytest.raises(Interrupted, match="the next attempt checks the others"):
        hosts.visit("a", "b", should_stop=lambda: len(hosts.found) >= 5)
    assert len(hosts.found) == 5
    hosts = Hosts(lambda url, now: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        hosts.visit("a", "b", workers=4)
