"""Hosts in trouble are paused and tried again; others go on."""

import threading
from collections import Counter, defaultdict
from contextlib import suppress

import pytest

from catalog.core.errors import Interrupted
from catalog.links import answers
from catalog.links.answers import Verdict, unclear
from catalog.links.pauses import LENGTHS, LONGEST, PATIENCE, Key, Pause, Pauses
from catalog.links.visits import LONGEST_WAIT, Link, OnlyPauses, Visits
from catalog.tests.links.site import Clock

FINE = Verdict("there", None, 200)


class Hosts:
    """Hosts without a network: what a check finds depends on the URL and the time."""

    def __init__(self, reply, clock=None, kept=None):
        self.reply, self.clock = reply, clock or Clock()
        self.kept = {} if kept is None else kept
        self.found, self.asked = {}, defaultdict(list)

    def check(self, url):
        self.clock.sleep(0.1)
        found = self.reply(url, self.clock.time())
        if left := self.pauses.remaining(found.host or url[0]):  # as `Web` does before a request
            return unclear(answers.PAUSED, None, left, found.host)
        self.asked[url].append(self.clock.time())
        return found

    def save(self, link, found):
        assert link.number not in self.found
        self.found[link.number] = found

    def visit(self, *hosts, each=20, **options):
        links = [Link(100 * n + k, f"{host}/{k}", host) for n, host in enumerate(hosts) for k in range(each)]
        while True:
            try:
                self.attempt([link for link in links if link.number not in self.found], **options)
                break
            except OnlyPauses as error:
                assert error.seconds > LONGEST_WAIT
                self.clock.sleep(error.seconds)
        assert self.found.keys() == {link.number for link in links}
        return Counter(found.reason or found.outcome for found in self.found.values())

    def attempt(self, links, **options):
        """Check links as one attempt of a task; another one knows only what was kept."""
        options = {"clock": self.clock.time, "sleep": self.clock.sleep, "workers": 1, **options}
        self.pauses = Pauses(self.kept, "survey", self.clock.now)
        Visits(self.check, self.save, self.pauses, **options).run(links)


def test_all_is_well():
    hosts = Hosts(lambda url, now: FINE)
    assert hosts.visit("a", "b") == {"there": 40}
    assert hosts.clock.time() < 5


@pytest.mark.parametrize(
    "trouble",
    [unclear(reason) for reason in sorted(answers.PASSING - {answers.PAUSED})]
    + [unclear(answers.BUSY, 429, 600.0), unclear(answers.PAUSED, None, 600.0)],
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
    assert PATIENCE - max(LENGTHS) < hosts.clock.time() < PATIENCE + max(LENGTHS)
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
        return unclear(answers.BUSY, 429) if asked % 5 in (0, 1) else FINE

    hosts = Hosts(reply)
    assert hosts.visit("a", each=20) == {"there": 20}
    moments = sorted(moment for asked in hosts.asked.values() for moment in asked)
    assert moments[1] - moments[0] >= LENGTHS[0]


def test_retry_after_is_honoured_and_a_very_long_one_ends_the_host():
    hosts = Hosts(lambda url, now: unclear(answers.BUSY, 429, 700.0) if now < 1 else FINE)
    assert hosts.visit("a", each=2) == {"there": 2}
    assert not [moment for asked in hosts.asked.values() for moment in asked if 1 < moment < 700]
    hosts = Hosts(lambda url, now: unclear(answers.BUSY, 503, 86_400.0))
    assert hosts.visit("a", each=9) == {answers.PAUSED: 9}
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


def test_a_task_that_would_only_wait_ends_and_another_attempt_goes_on():
    """It does not ask before the pause is over."""
    hosts = Hosts(lambda url, now: unclear(answers.BUSY, 429, 1000.0) if now < 600 else FINE)
    links = [Link(n, f"a/{n}", "a") for n in range(3)]
    for left in (1000, 400):
        with pytest.raises(OnlyPauses) as waits:
            hosts.attempt(links)
        assert waits.value.seconds == pytest.approx(left, abs=1)
        hosts.clock.go_to(seconds=600)
    assert sum(map(len, hosts.asked.values())) == 1
    hosts.clock.go_to(seconds=1001)
    hosts.attempt(links)
    assert hosts.kept == {}
    assert {found.outcome for found in hosts.found.values()} == {"there"}
    assert sum(map(len, hosts.asked.values())) == 4


def test_a_silent_host_is_given_up_however_often_the_task_is_killed():
    """Each attempt counts the pauses of earlier ones."""
    hosts, attempts = Hosts(lambda url, now: unclear(answers.TIMEOUT)), 0
    links = [Link(n, f"a/{n}", "a") for n in range(9)]
    while not hosts.found and attempts < 30:
        attempts += 1
        begun = hosts.clock.time()
        with suppress(Interrupted, OnlyPauses):
            hosts.attempt(links, should_stop=lambda begun=begun: hosts.clock.time() > begun + 100)
        hosts.clock.sleep(500)
    assert Counter(found.reason for found in hosts.found.values()) == {answers.TIMEOUT: 9}
    assert PATIENCE / 2 < hosts.clock.time() < 2 * PATIENCE
    assert sum(map(len, hosts.asked.values())) < 12


def test_a_pause_that_a_host_asks_for_holds_for_all_surveys_and_another_one_does_not():
    clock = Clock()
    kept: dict[Key, Pause] = {}
    one, other = (Pauses(kept, name, clock.now) for name in ("one", "other"))
    one.begin("fails", asked=False)
    one.begin("asks", asked=True, least=1e9)
    assert (one.remaining("fails"), other.remaining("fails")) == (LENGTHS[0], 0)
    assert Pauses(kept, "one", clock.now).own() == {"fails": LENGTHS[0]}
    assert one.remaining("asks") == other.remaining("asks") == LONGEST  # however much more it asks for
    other.answered("asks")  # to a request that was sent before
    assert other.remaining("asks") == LONGEST
    assert other.begin("asks", asked=True) == one.begin("asks", asked=True)  # it goes on; no other one begins
    clock.sleep(LONGEST)
    assert other.begin("asks", asked=True).number == 2
    clock.sleep(LENGTHS[1])
    for host in ("asks", "fails"):
        one.answered(host)
    assert kept == {}


@pytest.mark.parametrize("reason", [answers.BUSY, answers.TIMEOUT])
def test_the_host_that_did_not_answer_is_paused_and_not_the_one_that_led_to_it(reason):
    """Files 0 to 9 of host a redirect to host b, which fails for an hour."""
    moved = {f"a/{n}" for n in range(10)}

    def reply(url, now):
        if url not in moved:
            return FINE
        trouble = unclear(reason, host="b")
        return trouble if now < 3600 else Verdict("there", None, 200, host="b")

    hosts = Hosts(reply)
    assert hosts.visit("a", each=40) == {"there": 40}
    assert max(hosts.asked[f"a/{n}"][-1] for n in range(10, 40)) < 30
    assert sum(len(hosts.asked[url]) for url in moved) < 10 + 12


def test_links_to_a_target_that_is_given_up_are_given_up_and_others_are_not():
    def reply(url, now):
        return unclear(answers.TIMEOUT, host="b") if int(url[2:]) % 2 else FINE

    assert Hosts(reply).visit("a", each=40) == {"there": 20, answers.TIMEOUT: 20}


def test_two_hosts_that_lead_to_each_other_and_fail_in_turn_end():
    """Without a link that ends, no pause starts over."""

    def reply(url, now):
        return unclear(answers.BUSY, 429, host="b" if len(hosts.asked[url]) % 2 else "a")

    hosts = Hosts(reply)
    assert hosts.visit("a", each=3) == {answers.PAUSED: 3}
