"""Pulls of a scripted provider: resuming, errors, limits, parameters, and that every item is counted."""

import re
import resource
from datetime import UTC, date, datetime, timedelta
from itertools import count
from urllib.parse import urlsplit

import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from upath import UPath

from catalog.core.errors import Fatal, Fenced, Interrupted, LoopDetected, NotWhole, Retry, SkippedErrors
from catalog.ingestion import loop_guard
from catalog.ingestion.client import Client
from catalog.ingestion.loop_guard import LoopGuard
from catalog.ingestion.options import Options
from catalog.ingestion.parts import Parts, page_of
from catalog.ingestion.pull import Pull
from catalog.ingestion.rate import Quota
from catalog.ingestion.reasons import OVER_LIMIT, SEEN
from catalog.ingestion.state import MemoryCheckpoint, State
from catalog.ingestion.transport import BaseUrlTransport
from catalog.ingestion.windows import Window, day_window
from catalog.provider_api import CC0, Counted, Image, Links, Page, Paginator, Provider, Skip, Tokens
from catalog.tests.providers.fake_api import client as api_client
from catalog.tests.values import present


class Scripted(Paginator):
    """Pages of a list, by number; an exception in place of a page is raised once it is asked for."""

    own_params = ("page",)

    def __init__(self, pages):
        self.pages, self.asked, self.params = pages, [], []

    def start(self, params):
        return {"page": int(params.get("page", 0))}

    def fetch(self, client, cursor, params):
        number = cursor["page"]
        self.asked.append(number)
        self.params.append(dict(params))
        page = self.pages[number] if number < len(self.pages) else []
        if isinstance(page, Exception):
            raise page
        return Page(page, {"page": number + 1} if page and number + 1 < len(self.pages) else None)

    def skip(self, cursor):
        return {"page": cursor["page"] + 1} if cursor["page"] + 1 < len(self.pages) else None


class Example(Provider):
    name = "example"
    catalog_names = {"image": "example"}

    def record(self, raw):
        if raw == "skip":
            return Skip("not wanted")
        if raw == "poison":
            raise KeyError(raw)
        if raw == "several":
            return [image("s1"), image("s2"), Skip("third is broken")]
        return image(raw, None if raw == "unlicensed" else CC0)


def provider(pages, **attributes):
    class Made(Example):
        pass

    Made.pages = pages if isinstance(pages, Paginator) else Scripted(pages)
    for key, value in attributes.items():
        setattr(Made, key, value)
    return Made()


def image(name, license_=CC0):
    return Image(
        foreign_identifier=name,
        foreign_landing_url=f"https://example.org/{name}",
        url=f"https://example.org/{name}.jpg",
        license=license_,
    )


def pull(folder, provider_, checkpoint=None, client=None, **options):
    own = ("window", "fence", "clock", "should_stop", "progress")
    more = {k: options.pop(k) for k in own if k in options}
    parts = Parts(UPath(folder), "example", datetime(2024, 1, 1, tzinfo=UTC), None)
    chosen = Options(**options)
    return Pull(
        provider_, client or Client(), parts, run_id="r", options=chosen, checkpoint=checkpoint, **more
    )


def rows(pulled):
    manifest = pulled.parts.load()
    return [
        line.split("\t")[0]
        for path in pulled.parts.tsv_files("image", manifest)
        for line in path.read_text().splitlines()
    ]


def accounted(manifest):
    return all(
        c.fetched == c.written + sum(c.skipped.values()) + sum(c.rejected.values())
        for c in manifest.counts.values()
    )


def test_every_item_is_accounted_for(tmp_path):
    pulled = pull(tmp_path, provider([["a", "skip", "poison"], ["several", "unlicensed"], ["b"]]))
    manifest = pulled.run()
    counts = manifest.counts["image"]
    assert rows(pulled) == ["a", "s1", "s2", "b"]
    assert (counts.fetched, counts.written) == (8, 4)
    assert counts.skipped == {"not wanted": 1, "third is broken": 1}
    reason = next(r for r in counts.rejected if r != "missing license")
    assert re.fullmatch(r"mapping failed: KeyError: 'poison' \(test_pull.py:\d+\)", reason)
    assert counts.rejected == {reason: 1, "missing license": 1}
    assert accounted(manifest)
    assert manifest.complete
    rejects = [
        orjson.loads(line)
        for path in sorted(pulled.parts.folder.glob("*.rejects.jsonl"))
        for line in path.read_text().splitlines()
    ]
    assert [(r["reason"], r["raw"]) for r in rejects] == [
        (reason, "poison"),
        ("missing license", "unlicensed"),
    ]


def test_a_mapping_that_returns_something_else_is_named(tmp_path):
    example = provider([["a", "b"]])
    example.record = lambda raw: {"title": raw} if raw == "b" else image(raw)
    pulled = pull(tmp_path, example)
    assert pulled.run().counts["image"].rejected == {"mapping failed: record() returned dict": 1}
    assert rows(pulled) == ["a"]


def test_a_misspelt_attribute_of_a_provider_is_refused():
    with pytest.raises(TypeError, match=r"Misspelt\.rte is not declared; did you mean 'rate'"):
        type("Misspelt", (Provider,), {"rte": 1})
    type("Fine", (Provider,), {"rate": 1, "slices": 2, "pages_of": staticmethod(len)})


@pytest.mark.parametrize(
    ("attributes", "problem"),
    [
        (
            {"category": "photo"},
            "X.category is 'photo'; there are photograph, digitized_artwork, illustration",
        ),
        ({"category": "music"}, "X.category is 'music'; there are photograph"),
        ({"catalog_names": {"images": "x"}}, "X.catalog_names: 'images' is not "),
        ({"schedule": "@dayly"}, "X.schedule is '@dayly'; use @daily"),
        ({"overlap": timedelta(hours=6)}, "X.overlap is 6:00:00; it has whole hours, and needs `dated`"),
        ({"dated": True, "overlap": timedelta(minutes=90)}, "X.overlap is 1:30:00"),
        ({"dated": True, "overlap": timedelta(hours=-1)}, "X.overlap is -1 day, 23:00:00"),
        ({"schedule": "0 0 1 *"}, "X.schedule is '0 0 1 *'"),
        ({"dated": True}, "X.schedule is '@monthly', but each run of a `dated` provider pulls one day"),
        ({"dated": True, "schedule": "@hourly"}, "X.schedule is '@hourly', but each run of a `dated`"),
        ({"dated": True, "schedule": "0 */6 * * *"}, "X.schedule is '0 */6 * * *', but each run"),
        ({"dated": True, "schedule": "0 3 * * 1"}, "X.schedule is '0 3 * * 1', but each run"),
    ],
)
def test_a_value_of_a_provider_that_does_not_exist_is_refused(attributes, problem):
    with pytest.raises(TypeError, match=re.escape(problem)):
        type("X", (Provider,), {"catalog_names": {"image": "x"}, **attributes})
    type("Y", (Provider,), {"catalog_names": {"audio": "y"}, "category": "music", "schedule": "0 0 2 * *"})
    type("Z", (Provider,), {"dated": True, "schedule": "30 3 * * *"})


def test_a_mapping_may_return_a_tuple(tmp_path):
    example = provider([["a"]])
    example.record = lambda raw: (image("a1"), Skip("too small"), image("a2"))
    pulled = pull(tmp_path, example)
    assert pulled.run().counts["image"].skipped == {"too small": 1}
    assert rows(pulled) == ["a1", "a2"]


def test_resuming_after_any_page_gives_the_same_and_fetches_one_page_again_at_most(tmp_path):
    pages = [[f"p{n}i{m}" for m in range(3)] for n in range(6)]
    undisturbed = pull(tmp_path / "whole", provider(pages))
    undisturbed.run()
    for stop_after in range(1, 6):
        folder, checkpoint, calls = tmp_path / f"stop{stop_after}", MemoryCheckpoint(), count(1)
        first = provider(pages)
        with pytest.raises(Interrupted):
            pull(folder, first, checkpoint, should_stop=lambda c=calls, n=stop_after: next(c) == n).run()
        second = provider(pages)
        resumed = pull(folder, second, checkpoint)
        manifest = resumed.run()
        assert rows(resumed) == rows(undisturbed)
        assert first.pages.asked + second.pages.asked == list(range(6))
        assert manifest.counts == undisturbed.parts.load().counts
        assert checkpoint.state is None


def test_a_kill_between_the_part_and_the_checkpoint_counts_nothing_twice(tmp_path):
    class Killed(BaseException):
        pass

    class DyingCheckpoint(MemoryCheckpoint):
        def save(self, state):
            if state["pages"] == 3:
                raise Killed
            super().save(state)

    pages = [[f"p{n}"] for n in range(5)]
    dying = DyingCheckpoint()
    with pytest.raises(Killed):
        pull(tmp_path, provider(pages), dying).run()
    changed = [*pages[:2], ["p2 is another now"], *pages[3:]]
    second = provider(changed)
    resumed = pull(tmp_path, second, MemoryCheckpoint(dying.state))
    manifest = resumed.run()
    assert second.pages.asked == [2, 3, 4]
    assert rows(resumed) == ["p0", "p1", "p2 is another now", "p3", "p4"]
    assert manifest.counts["image"].written == 5


@pytest.mark.parametrize(("begins", "ends", "whole"), [(-2, -1, True), (-1, 1, False), (-9, 15, False)])
def test_a_window_that_is_not_over_does_not_count_as_whole(tmp_path, begins, ends, whole):
    now = datetime.now(UTC).replace(microsecond=0)
    window = Window(now + timedelta(hours=begins), now + timedelta(hours=ends))
    found = pull(tmp_path, provider([["a"], []], dated=True), window=window).run()
    assert (found.complete, found.whole) == (True, whole)


@pytest.mark.parametrize("page", ["abc", None, [1]])
@pytest.mark.parametrize("field", ["initial_query_params", "query_params_list"])
def test_a_page_that_is_none_is_named(tmp_path, field, page):
    made = provider(Counted("https://api.example.org/items", items="items"))
    with pytest.raises(Fatal, match=r"query_params_list: .* names no page of example"):
        pull(tmp_path, made, **{field: {"page": page} if field.startswith("i") else [{"page": page}]}).run()


def test_a_page_among_the_additional_parameters_is_not_ignored(tmp_path):
    made = provider(Counted("https://api.example.org/items", items="items"))
    with pytest.raises(Fatal, match="the pull itself sets page; use initial_query_params"):
        pull(tmp_path, made, additional_query_params={"page": 3}).run()


def test_a_window_that_has_not_begun_is_refused(tmp_path):
    tomorrow = day_window(datetime.now(UTC).date() + timedelta(days=1))
    pages = Scripted([["a"], []])
    with pytest.raises(Fatal, match=f"{tomorrow} has not begun"):
        pull(tmp_path, provider(pages, dated=True), window=tomorrow).run()


DAY, NEXT = day_window(date(2024, 2, 10)), day_window(date(2024, 2, 11))
HERE = BaseUrlTransport("example.org", "http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("other", "attributes", "said"),
    [
        ({"window": NEXT}, {}, r"window: \['2024-02-10T00:00:00Z', .*\], not \['2024-02-11"),
        ({"client": Client(transport=HERE)}, {}, "source: None, not http://127.0.0.1:1"),
        ({"limit": 5}, {}, "limit: None, not 5"),
        ({"additional_query_params": {"z": 1}}, {}, "additional_query_params: None, not {'z': 1}"),
        ({"initial_query_params": {"q": "x"}}, {}, "initial_query_params: None, not {'q': 'x'}"),
        ({"query_params_list": [{"page": 0}]}, {}, "query_params_list: None, not"),
        ({}, {"params": {"size": 2}}, "params: {}, not {'size': 2}"),
        ({}, {"name": "other"}, "provider: example, not other"),
    ],
)
def test_a_state_of_another_pull_is_not_resumed(tmp_path, caplog, other, attributes, said):
    checkpoint = MemoryCheckpoint()
    with pytest.raises(Interrupted):
        pull(tmp_path, provider([["a"], ["b"]]), checkpoint, window=DAY, should_stop=lambda: True).run()
    again = pull(tmp_path, provider([["x"], ["y"]], **attributes), checkpoint, **{"window": DAY, **other})
    again.run()
    assert again.provider.pages.asked[0] == 0
    assert "a" not in rows(again)
    assert re.search(rf"STARTING OVER: .* it is of another pull \({said}", caplog.text)


@pytest.mark.parametrize(("step", "pages"), [(timedelta(hours=1), [0, 2]), (timedelta(0), [0, 1, 2, 3])])
def test_a_pull_notes_when_its_pages_were_read(tmp_path, monkeypatch, step, pages):
    """When an attempt begins, and then after each step of time; a resumed one reads page 2 and then 3."""
    monkeypatch.setattr("catalog.ingestion.pull.TIME_STEP", step)
    checkpoint = MemoryCheckpoint()
    with pytest.raises(Retry):
        pull(tmp_path, provider([["a"], ["b"], Retry("down"), ["d"]]), checkpoint).run()
    between = datetime.now(UTC)
    resumed = pull(tmp_path, provider([["a"], ["b"], ["c"], ["d"]]), checkpoint)
    manifest = resumed.run()
    assert [page for page, _ in manifest.times] == pages
    assert (manifest.first_page_since(manifest.started), manifest.first_page_since(between)) == (0, 2)
    assert manifest.first_page_since(datetime.now(UTC)) is None
    assert [page_of(part) for part in resumed.parts.tsv_files("image", manifest)] == [0, 1, 2, 3]


def test_a_state_without_times_began_when_it_says():
    state = State(token="t", started=datetime(2026, 3, 1, tzinfo=UTC), rounds=[])
    assert state.began() == state.started
    state.times = [(0, state.started - timedelta(days=1)), (1, state.started)]
    assert state.began() == state.started - timedelta(days=1)


@pytest.mark.parametrize("resumed", [False, True])
def test_a_clock_that_was_ahead_dates_no_page_to_come(tmp_path, resumed):
    """It is set right after the first page, by the same attempt or before the next one."""
    right = datetime(2026, 3, 1, tzinfo=UTC)
    said, checkpoint = [right + timedelta(days=400)], MemoryCheckpoint()

    def clock():
        return said[-1]

    def set_right():
        said.append(right + timedelta(seconds=len(said)))
        return resumed and len(said) == 2

    options = {"clock": clock, "should_stop": set_right, "window": day_window(date(2026, 3, 1))}
    one = provider([["a"], ["b"], ["c"]], dated=True)
    if resumed:
        with pytest.raises(Interrupted):
            pull(tmp_path, one, checkpoint, **options).run()
        checkpoint.state = {**present(checkpoint.state), "stored": right.isoformat()}
    manifest = pull(tmp_path, one, checkpoint, **options).run()
    second = right + timedelta(seconds=1)
    assert (manifest.started, manifest.times) == (second, [(0, second), (1, second)])
    assert not manifest.whole  # the window is not over


def test_a_state_with_a_time_to_come_is_not_resumed(tmp_path, caplog):
    """Nobody knows how old its records are."""
    checkpoint = MemoryCheckpoint()
    with pytest.raises(Interrupted):
        pull(tmp_path, provider([["a"], ["b"]]), checkpoint, should_stop=lambda: True).run()
    for hours, read in ((2, ["x", "y"]), (0.5, ["a", "y"])):
        stored = (datetime.now(UTC) + timedelta(hours=hours)).isoformat()
        state = MemoryCheckpoint({**present(checkpoint.state), "stored": stored})
        again = pull(tmp_path / f"{hours}", provider([["x"], ["y"]]), state)
        again.parts.write("image", 0, ["a\n"])
        again.run()
        assert rows(again) == read
    assert "which is to come: its clock was wrong" in caplog.text


@pytest.mark.parametrize(
    ("attributes", "days", "resumed"),
    [
        ({}, 30, True),  # a month, until the next run
        ({}, 32, False),
        ({"schedule": "@daily"}, 6, True),
        ({"schedule": "@daily"}, 8, False),
        ({"quota": Quota(100, "month")}, 60, True),  # it waited for its quota
        ({"quota": Quota(100, "month")}, 63, False),
    ],
)
def test_a_state_that_was_left_for_long_is_not_resumed(tmp_path, caplog, attributes, days, resumed):
    checkpoint = MemoryCheckpoint()
    with pytest.raises(Interrupted):
        pull(tmp_path, provider([["a"], ["b"]]), checkpoint, should_stop=lambda: True).run()
    stored = (datetime.now(UTC) - timedelta(days=days)).isoformat()
    checkpoint.state = {**present(checkpoint.state), "stored": stored}
    again = pull(tmp_path, provider([["x"], ["y"]], **attributes), checkpoint)
    again.run()
    assert rows(again) == (["a", "y"] if resumed else ["x", "y"])
    said = re.search(r"STARTING OVER: .*: it was stored on 20.*, so it is too old", caplog.text)
    assert bool(said) is not resumed


def test_a_long_pull_that_goes_on_is_not_given_up(tmp_path):
    checkpoint = MemoryCheckpoint()
    with pytest.raises(Interrupted):
        pull(tmp_path, provider([["a"], ["b"]]), checkpoint, should_stop=lambda: True).run()
    checkpoint.state = {**present(checkpoint.state), "started": "2020-01-01T00:00:00Z"}
    again = pull(tmp_path, provider([["x"], ["y"]]), checkpoint)
    assert again.run().started.year == 2020
    assert rows(again) == ["a", "y"]


def test_the_manifest_of_a_pull_that_starts_over_lists_nothing_of_another_pull(tmp_path):
    """Its API is down, so the other pull's state is still the stored one."""
    checkpoint = MemoryCheckpoint()
    with pytest.raises(Interrupted):
        pull(tmp_path, provider([["a"], ["b"]]), checkpoint, window=DAY, should_stop=lambda: True).run()
    failing = pull(tmp_path, provider([Retry("down")]), checkpoint, window=NEXT)
    with pytest.raises(Retry):
        failing.run()
    manifest = present(failing.parts.load())
    assert (manifest.pages, manifest.counts, manifest.error) == (0, {}, "Retry: down")


@pytest.mark.parametrize(
    "other", [{"skip_errors": True}, {"skip_predicates": ("x",)}, {"accept_shortfall": True}]
)
def test_options_that_change_no_request_leave_the_state_as_it_is(tmp_path, other):
    checkpoint = MemoryCheckpoint()
    with pytest.raises(Interrupted):
        pull(tmp_path, provider([["a"], ["b"]]), checkpoint, window=DAY, should_stop=lambda: True).run()
    again = pull(tmp_path, provider([["a"], ["b"]]), checkpoint, window=DAY, **other)
    again.run()
    assert again.provider.pages.asked == [1]


def test_a_state_of_a_release_that_did_not_note_its_pull_is_resumed(tmp_path):
    checkpoint = MemoryCheckpoint()
    with pytest.raises(Interrupted):
        pull(tmp_path, provider([["a"], ["b"]]), checkpoint, should_stop=lambda: True).run()
    added = ("of", "restarted")
    old = {key: value for key, value in present(checkpoint.state).items() if key not in added}
    old |= {
        "failed": False,
        "rounds": [{"params": {}, "cursor": None, "only": False, "rest": False, "read": 0}],
    }
    again = pull(tmp_path, provider([["a"], ["b"]]), MemoryCheckpoint(old))
    again.run()
    assert again.provider.pages.asked == [1]
    assert rows(again) == ["a", "b"]


def test_a_pull_that_fails_leaves_what_it_read_and_says_why(tmp_path):
    checkpoint = MemoryCheckpoint()
    failing = pull(tmp_path, provider([["a"], ["b"], Fatal("the key was revoked"), ["d"]]), checkpoint)
    with pytest.raises(Fatal, match="revoked"):
        failing.run()
    manifest = failing.parts.load()
    assert (manifest.complete, manifest.pages, manifest.error) == (False, 2, "Fatal: the key was revoked")
    assert rows(failing) == ["a", "b"]
    mended = provider([["a"], ["b"], ["c"], ["d"]])
    resumed = pull(tmp_path, mended, checkpoint)
    assert resumed.run().complete
    assert mended.pages.asked == [2, 3]
    assert rows(resumed) == ["a", "b", "c", "d"]


def test_a_pull_that_fails_at_its_first_page_says_why(tmp_path):
    failing = pull(tmp_path, provider([Fatal("the key was revoked")]))
    with pytest.raises(Fatal):
        failing.run()
    manifest = failing.parts.load()
    assert (manifest.complete, manifest.pages, manifest.error) == (False, 0, "Fatal: the key was revoked")


def test_a_finished_pull_is_fetched_anew_and_its_old_parts_go(tmp_path):
    checkpoint = MemoryCheckpoint()
    first = pull(tmp_path, provider([["a"], ["b"], ["c"]]), checkpoint).run()
    again = pull(tmp_path, provider([["x"]]), checkpoint)
    second = again.run()
    assert rows(again) == ["x"]
    assert first.token != second.token


@pytest.mark.parametrize(
    ("options", "skipped"),
    [({"skip_errors": True}, True), ({"skip_predicates": ("BUSY",)}, True), ({}, False)],
)
def test_errors_to_be_passed_over(tmp_path, options, skipped):
    """The next page is read, the failure is reported at the end, and only the failed page is retried."""
    pages = [["a"], Retry("server busy"), ["c"]]
    checkpoint, pulled = MemoryCheckpoint(), None
    pulled = pull(tmp_path, provider(pages), checkpoint, **options)
    with pytest.raises(SkippedErrors if skipped else Retry, match="busy"):
        pulled.run()
    assert rows(pulled) == (["a", "c"] if skipped else ["a"])
    if skipped:
        mended = provider([["a"], ["b"], ["c"]])
        again = pull(tmp_path, mended, checkpoint)
        assert again.run().complete
        assert mended.pages.asked == [1]
        assert rows(again) == ["a", "c", "b"]


def test_passing_over_ends_when_all_pages_fail(tmp_path):
    with pytest.raises(Fatal, match="10 pages in a row"):
        pull(tmp_path, provider([Retry("down")] * 50), skip_errors=True).run()


@pytest.mark.parametrize(("limit", "kept"), [(1, ["a"]), (3, ["a", "b", "c"]), (100, ["a", "b", "c", "d"])])
def test_limit(tmp_path, limit, kept):
    pulled = pull(tmp_path, provider([["a", "b"], ["c", "d"]]), limit=limit)
    assert accounted(pulled.run())
    assert rows(pulled) == kept


def test_initial_query_params_start_there_and_stay(tmp_path):
    example = provider([["a"], ["b"], ["c"]], params={"size": 1, "sort": "new"})
    pull(tmp_path, example, initial_query_params={"page": 1, "sort": "old"}).run()
    assert example.pages.asked == [1, 2]
    assert example.pages.params == [{"size": 1, "sort": "old"}] * 2


def test_query_params_list_is_only_these(tmp_path):
    example = provider([["a"], ["b"], ["c"]])
    pull(
        tmp_path,
        example,
        query_params_list=[{"page": 2}, {"page": 0, "q": "x"}],
        additional_query_params={"z": 1},
    ).run()
    assert example.pages.asked == [2, 0]
    assert example.pages.params == [{"z": 1}, {"q": "x", "z": 1}]


def test_a_pull_of_no_requests_at_all_is_not_whole(tmp_path):
    assert not pull(tmp_path, provider([["a"]]), query_params_list=[]).run().whole


def test_rounds_of_fixed_parameters(tmp_path):
    class InRounds(Counted):
        def fetch(self, client, cursor, params):
            seen.append((params["building"], cursor["page"]))
            return Page(
                [f"{params['building']}{cursor['page']}"],
                {"page": cursor["page"] + 1} if cursor["page"] < 2 else None,
            )

    seen: list[tuple[str, int]] = []
    example = provider(InRounds("https://example.org", items=""))
    example.rounds = lambda client, window: [{"building": "x"}, {"building": "y"}]
    pull(tmp_path, example).run()
    assert seen == [("x", 1), ("x", 2), ("y", 1), ("y", 2)]
    seen.clear()
    pull(tmp_path / "again", example, initial_query_params={"building": "y", "page": 2}).run()
    assert seen == [("y", 2)]


def test_a_newer_try_fences_this_one_off(tmp_path):
    calls = []

    def fence():
        calls.append(1)
        if len(calls) > 4:  # at the start, before the parts, before the manifest, before the state
            raise Fenced("taken over")

    pulled = pull(tmp_path, provider([["a"], ["b"], ["c"]]), fence=fence)
    with pytest.raises(Fenced):
        pulled.run()
    assert rows(pulled) == ["a"]


def test_a_repeated_page_is_caught(tmp_path):
    pulled = pull(tmp_path, provider([["a"], ["a"], ["b"]]))
    with pytest.raises(LoopDetected, match="same as an earlier one"):
        pulled.run()
    assert rows(pulled) == ["a"]


@pytest.mark.parametrize(
    ("pages", "hint"),
    [
        (Counted("https://x.example/a", items=""), " The API may ignore `page`: request two pages by hand"),
        (Counted("https://x.example/a", items="", param="p", pages_header="n"), " The API may ignore `p`: "),
        (Tokens("https://x.example/a", items="", param="t", following="n"), " The API may ignore `t`: "),
        (Links("https://x.example/a", items=""), ""),
    ],
)
def test_the_parameter_that_an_api_ignores_is_named(pages, hint):
    cursors = {"page": 2, "p": 2, "last": 9, "t": "abc", "link": "https://x.example/a?p=2"}
    cursor = {
        name: cursors[name] for name in (*pages.own_params, *(["last"] if "p" in pages.own_params else []))
    }
    guard = LoopGuard(9, pages.own_params)
    guard.check_page({}, ["a"])
    with pytest.raises(LoopDetected) as raised:
        guard.check_page(cursor, ["a"])
    said = f"the page at {cursor} is the same as an earlier one; the pull stopped there.{hint}"
    assert str(raised.value).startswith(said)
    assert bool(hint) == ("ignore" in str(raised.value))


def repeating_api(url, params):
    """Always the same two items, of which a field and the address or token of the next page change."""
    number = next(requests_)
    items = [{"id": name, "views": number} for name in ("a", "b")] + [{"id": "unlicensed", "views": number}]
    following = {"token": f"t{number}", "link": f"https://x.example/a?p={number}"}
    return {"items": items, "more": True, **following}


requests_ = count(1)


@pytest.mark.parametrize(
    ("pages", "asked", "hint"),
    [
        (Counted("https://x.example/a", items="items", more="more"), 18, "ignore `page`: request two pages"),
        (Counted("https://x.example/a", items="items", param="at", step=3), 18, "ignore `at`: request two"),
        (Tokens("https://x.example/a", items="items", param="t", following="token"), 18, "ignore `t`: "),
        (Links("https://x.example/a", items="items", following="link"), 18, "stopped there.$"),
    ],
)
def test_a_page_that_repeats_with_other_values_is_caught(tmp_path, pages, asked, hint):
    class Viewed(Example):
        def record(self, raw):
            return super().record(raw["id"])

    Viewed.pages = pages
    api = api_client(repeating_api)
    pulled = pull(tmp_path, Viewed(), client=api)
    with pytest.raises(LoopDetected, match=f"the last 17 pages, .*: 51 items had come before.*{hint}"):
        pulled.run()
    assert len(api._sender.transport.requests) == asked
    assert set(rows(pulled)) == {"a", "b"}  # what came is loaded
    assert present(pulled.parts.load()).error.startswith("LoopDetected: the last 17 pages")


def as_pages(items, size):
    return [items[at : at + size] for at in range(0, len(items), size)]


@pytest.mark.parametrize(
    ("items", "attributes"),
    [
        # More items are added to the front than fit on ten pages, while the list is read.
        ([f"i{n}" for n in (*range(60), *range(10, 60), *range(60, 80))], {}),
        # Ten pages of known items, but the list holds more others.
        ([f"i{n}" for n in (*range(60), *range(55), *range(60, 80))], {}),
        # One record is listed with a hundred items.
        (["a"] * 100 + ["b"], {"deduplicate": True}),
    ],
)
def test_items_that_come_again_in_a_list_with_others_are_no_loop(tmp_path, items, attributes):
    class Viewed(Example):
        def record(self, raw):
            return super().record(raw[0])

    for name, value in attributes.items():
        setattr(Viewed, name, value)
    Viewed.pages = Scripted(as_pages([(name, number) for number, name in enumerate(items)], 5))
    pulled = pull(tmp_path, Viewed())
    assert pulled.run().complete
    assert set(rows(pulled)) == set(items)


def test_a_record_on_each_page_among_skipped_items_is_no_loop(tmp_path):
    class Featured(Example):
        def record(self, raw):
            return super().record(raw[0]) if raw[0] else Skip("another kind")

    names = ["featured", *[None] * 9] * 30 + ["a", "b"]
    Featured.pages = Scripted(as_pages([(name, number) for number, name in enumerate(names)], 10))
    pulled = pull(tmp_path, Featured())
    assert pulled.run().complete
    assert set(rows(pulled)) == {"featured", "a", "b"}


def test_items_without_an_identifier_are_no_loop(tmp_path):
    class Nameless(Example):
        def record(self, raw):
            return image(None)

    with pytest.raises(NotWhole, match="none of the 40 items that came could be kept"):
        pull(tmp_path, type("Made", (Nameless,), {"pages": Scripted(as_pages([*range(40)], 2))})()).run()


@pytest.mark.parametrize(("total", "most"), [(None, 90), (4, 50), (8, 80)])
def test_a_repeated_page_without_identifiers_is_not_read_for_ever(tmp_path, monkeypatch, total, most):
    """Of items that are skipped or rejected, whose values vary, only their number is evidence."""

    class Nameless(Example):
        def record(self, raw):
            return image(None) if raw % 2 else Skip("no identifier")

    monkeypatch.setattr(loop_guard, "FRUITLESS", 50)
    monkeypatch.setattr(loop_guard, "FRUITLESS_UNANNOUNCED", 90)
    values = count(1)
    announced = {} if total is None else {"total": total}
    api = api_client(lambda *_: {"items": [next(values), next(values)], "more": True, **announced})
    Nameless.pages = Counted(
        "https://x.example/a", items="items", more="more", total="total", announces="sometimes"
    )
    with pytest.raises(LoopDetected, match=f"the last {most + 2} items, .* brought no new record; .*`page`"):
        pull(tmp_path, Nameless(), client=api).run()


def test_a_deduplicating_provider_that_listed_more_than_it_announced_is_a_loop(tmp_path):
    class Viewed(Example):
        deduplicate = True

        def record(self, raw):
            return super().record(raw[0])

    class Again(Scripted):
        def fetch(self, client, cursor, params):
            page = super().fetch(client, cursor, params)
            page.total = 60
            return page

    Viewed.pages = Again(as_pages([("a", number) for number in range(200)], 5))
    with pytest.raises(LoopDetected, match=r"the last 13 pages, .*: 65 items had come"):
        pull(tmp_path, Viewed()).run()


def test_tokens_in_a_circle_are_caught(tmp_path):
    class Circle(Paginator):
        def start(self, params):
            return {"token": 0}

        def fetch(self, client, cursor, params):
            seen.append(cursor["token"])
            return Page([f"item {len(seen)}"], {"token": (cursor["token"] + 1) % 3})

    seen: list[int] = []
    with pytest.raises(LoopDetected, match="for the second time"):
        pull(tmp_path, provider(Circle())).run()
    assert seen == [0, 1, 2, 0]


def test_an_unknown_state_starts_over_loudly(tmp_path, caplog):
    example = provider([["a"]])
    pull(tmp_path, example, MemoryCheckpoint({"version": 99})).run()
    assert example.pages.asked == [0]
    assert "version 99" in caplog.text


def test_the_state_is_plain_json(tmp_path):
    checkpoint = MemoryCheckpoint()
    with pytest.raises(Fatal):
        pull(tmp_path, provider([["a", "skip"], Fatal("x")]), checkpoint).run()
    assert orjson.loads(orjson.dumps(checkpoint.state)) == checkpoint.state
    assert len(orjson.dumps(checkpoint.state)) < 1000


ITEMS = ["a", "skip", "poison", "several", "unlicensed", "b\t\\N", None, 7, "x" * 4000]


@settings(max_examples=40, deadline=None)
@given(
    pages=st.lists(st.lists(st.sampled_from(ITEMS), min_size=1, max_size=5), max_size=6),
    stops=st.lists(st.integers(1, 3), max_size=4),
)
def test_wild_pages_with_wild_stops(tmp_path_factory, pages, stops):
    """However often the pull is stopped, the counts add up and the rows are those of an undisturbed pull."""
    pages = [[*page, f"page {n}"] for n, page in enumerate(pages)] or [["only"]]
    whole = pull(tmp_path_factory.mktemp("whole"), provider(pages))
    expected = msgspec.to_builtins(whole.run().counts)
    folder, checkpoint = tmp_path_factory.mktemp("stopped"), MemoryCheckpoint()
    for stop in stops:
        calls = count(1)
        try:
            pull(folder, provider(pages), checkpoint, should_stop=lambda c=calls, n=stop: next(c) >= n).run()
        except Interrupted:
            continue
        break
    else:
        stops = []
    last = pull(folder, provider(pages), checkpoint)
    manifest = last.run()
    assert accounted(manifest)
    assert msgspec.to_builtins(manifest.counts) == expected
    assert rows(last) == rows(whole)


def test_an_item_that_is_listed_again_is_written_once(tmp_path):
    pages = [["a", "b", "a"], ["b", "c"], ["c", "several"], ["several", "d"]]
    whole = pull(tmp_path / "whole", provider(pages, deduplicate=True)).run()
    assert whole.counts["image"].written == 6
    assert whole.counts["image"].skipped == {SEEN: 5, "third is broken": 2}
    checkpoint = MemoryCheckpoint()
    for _ in range(len(pages)):  # stopped after each page: the identifiers come back from the parts
        with pytest.raises(Interrupted):
            pull(
                tmp_path / "stopped", provider(pages, deduplicate=True), checkpoint, should_stop=lambda: True
            ).run()
    again = pull(tmp_path / "stopped", provider(pages, deduplicate=True), checkpoint).run()
    assert again.counts == whole.counts


def test_what_an_api_does_not_give_out_fails_the_pull_at_its_end(tmp_path):
    class Stingy(Scripted):
        def fetch(self, client, cursor, params):
            page = super().fetch(client, cursor, params)
            page.withheld = "more than it gives out" if cursor["page"] == 0 else None
            return page

    pulled = pull(tmp_path, provider(Stingy([["a"], ["b"]])))
    with pytest.raises(NotWhole, match="more than it gives out"):
        pulled.run()
    manifest = pulled.parts.load()
    assert manifest.counts["image"].written == 2
    assert not manifest.complete


def test_an_item_that_cannot_be_completed_is_a_reject(tmp_path):
    class Detailed(Example):
        name = "example"

        def detail(self, raw, client):
            return raw + "!" if raw != "bad" else raw["key"]

        def record(self, raw):
            return image(raw)

    Detailed.pages = Scripted([["a", "bad", "b"]])
    manifest = pull(tmp_path, Detailed()).run()
    counts = manifest.counts["image"]
    assert counts.written == 2
    assert [r.partition(":")[0] for r in counts.rejected] == ["details failed"]


def test_a_fault_of_our_own_code_is_not_called_the_api_s(tmp_path):
    with pytest.raises(KeyError, match="page"):
        pull(tmp_path, provider([KeyError("page")])).run()


def test_a_limit_inside_an_item_with_several_images(tmp_path):
    manifest = pull(tmp_path, provider([["a", "several"]]), limit=2).run()
    counts = manifest.counts["image"]
    assert (counts.written, counts.fetched) == (2, 4)
    assert counts.skipped == {"third is broken": 1, OVER_LIMIT: 1}


# Two attempts at once: what a paused one writes when it wakes


def attempt(folder, number, provider_, checkpoint, **more):
    parts = Parts(UPath(folder), "example", datetime(2024, 1, 1, tzinfo=UTC), None, attempt=number)
    return Pull(provider_, Client(), parts, run_id="r", checkpoint=checkpoint, **more)


@pytest.mark.parametrize("paused_at", range(1, 8))
def test_an_attempt_that_wakes_after_the_next_has_finished_changes_nothing(tmp_path, paused_at):
    """The fence passes, then the process sleeps; what it writes afterwards is ignored."""
    checkpoint, calls, holder = MemoryCheckpoint(), [], [1]

    def fence():
        calls.append(1)
        if holder != [1]:
            raise Fenced("taken over")
        if len(calls) == paused_at:
            holder[0] = 2
            newer = provider([["x"], ["y"], ["z"]])
            assert attempt(tmp_path, 2, newer, MemoryCheckpoint(checkpoint.state)).run().complete

    old = attempt(tmp_path, 1, provider([["a"], ["b"], ["c"]]), checkpoint, fence=fence)
    with pytest.raises(Fenced):
        old.run()
    manifest = old.parts.load()
    assert manifest.complete
    lines = [
        line.split("\t")[0]
        for path in old.parts.tsv_files("image", manifest)
        for line in path.read_text().splitlines()
    ]
    assert len(lines) == manifest.counts["image"].written == 3
    assert lines[-1] == "z"


def test_the_newest_attempt_that_has_written(tmp_path):
    """Whatever it has written: a manifest, rows, or rejects of a page that was fetched again since."""
    parts = attempt(tmp_path, 7, provider([["a", "poison"]]), MemoryCheckpoint()).parts
    assert parts.newest_attempt() == 0
    attempt(tmp_path, 7, provider([["a", "poison"]]), MemoryCheckpoint()).run()
    assert parts.newest_attempt() == 7
    for name in (
        "example_image_v001_20240101T000000_000000-9.tsv",
        "example_20240101T000000_000000-11.rejects.jsonl",
    ):
        (parts.folder / name).write_text("")
        assert f"-{parts.newest_attempt()}." in name
    attempt(tmp_path, 12, provider([["b"]]), MemoryCheckpoint()).run()
    assert parts.newest_attempt() == 12


def test_what_an_unfinished_attempt_wrote_beyond_its_state_goes_before_anything_is_written(tmp_path):
    """Rejects of a page that is fetched again and has none any more must not stay beside it."""
    checkpoint = MemoryCheckpoint()
    with pytest.raises(Interrupted):
        pull(tmp_path, provider([["a"], ["poison", "b"]]), checkpoint, should_stop=lambda: True).run()
    stale = pull(tmp_path, provider([["a"], ["poison", "b"]]), MemoryCheckpoint(checkpoint.state))
    stale.run()
    assert list(stale.parts.folder.glob("*_000001.rejects.jsonl"))
    again = pull(tmp_path, provider([["a"], ["c"]]), checkpoint)
    again.run()
    assert rows(again) == ["a", "c"]
    assert not list(again.parts.folder.glob("*.rejects.jsonl"))


def test_the_manifest_lists_a_page_before_the_state_does(tmp_path):
    """What a pull has read is loaded even when it never goes on; so the state must not be ahead."""

    class Watching(MemoryCheckpoint):
        def save(self, state):
            assert pulled.parts.load().pages == state["pages"]
            assert rows(pulled)[-1] == f"p{state['pages'] - 1}"
            super().save(state)

    pulled = pull(tmp_path, provider([[f"p{n}"] for n in range(3)]), Watching())
    pulled.run()


def test_pages_without_end_are_stopped():
    guard = LoopGuard(max_pages=3)
    for number in range(3):
        guard.check_page({"page": number}, [number])
    with pytest.raises(LoopDetected, match="more than 3 pages in one round"):
        guard.check_page({"page": 3}, [3])


def test_a_pull_guards_against_pages_without_end(tmp_path, monkeypatch):
    class Endless(Scripted):
        def fetch(self, client, cursor, params):
            return Page([f"i{cursor['page']}"], {"page": cursor["page"] + 1})

    monkeypatch.setattr("catalog.ingestion.pull.MAX_PAGES", 20)
    with pytest.raises(LoopDetected, match="more than 20 pages"):
        pull(tmp_path, provider(Endless([]))).run()


def test_reasons_that_an_api_writes_do_not_grow_without_bound(tmp_path):
    class Wordy(Example):
        name = "example"

        def record(self, raw):
            return Skip(f"kind {raw}") if raw % 2 else self.fail(raw)

        def fail(self, raw):
            raise ValueError(f"item {raw}")

    Wordy.pages = Scripted([list(range(1000))])
    counts = pull(tmp_path, Wordy(), accept_shortfall=True).run().counts["image"]
    assert sum(counts.skipped.values()) == sum(counts.rejected.values()) == 500
    assert len(counts.skipped) <= 51
    assert len(counts.rejected) <= 51


def test_a_reject_tells_what_happened_and_where(tmp_path):
    pulled = pull(tmp_path, provider([["a", "poison"]]))
    pulled.run()
    (path,) = pulled.parts.folder.glob("*.rejects.jsonl")
    reject = orjson.loads(path.read_bytes())
    assert reject["error"] == "KeyError: 'poison'"
    assert re.fullmatch(r"test_pull.py:\d+", reject["place"])
    assert reject["raw"] == "poison"


@pytest.mark.parametrize("link", ["http://ex\u2100\ud800/", "http://[\ud800/"])
def test_a_reject_with_half_a_character_keeps_its_medium_and_cause(tmp_path, link):
    """The item has it and, in the first case, the message of the error that the mapping raises."""
    example = provider([["a", {"link": link}]])
    example.record = lambda raw: urlsplit(raw["link"]) if isinstance(raw, dict) else image(raw)
    pulled = pull(tmp_path, example)
    manifest = pulled.run()
    assert rows(pulled) == ["a"]
    (counted,) = manifest.counts["image"].rejected
    (path,) = pulled.parts.folder.glob("*.rejects.jsonl")
    reject = orjson.loads(path.read_bytes())
    assert reject["media_type"] == "image"
    assert reject["reason"].replace("?", "") == counted
    assert reject["error"].startswith("ValueError: ")
    assert re.fullmatch(r"parse.py:\d+", reject["place"])
    assert reject["raw_text"] == ascii({"link": link})


def test_an_attempt_that_wakes_leaves_the_state_to_the_one_that_took_over(tmp_path):
    """It has passed the fence before its manifest; the one before the state holds."""
    checkpoint, calls, holder = MemoryCheckpoint(), [], [1]

    def fence():
        calls.append(1)
        if holder != [1]:
            raise Fenced("taken over")
        if len(calls) == 3:  # begun, page written
            holder[0] = 2
            assert attempt(tmp_path, 2, provider([["x"], ["y"]]), checkpoint).run().complete

    with pytest.raises(Fenced):
        attempt(tmp_path, 1, provider([["a"], ["b"]]), checkpoint, fence=fence).run()
    assert checkpoint.state is None


def test_of_each_page_the_part_counts_whose_attempt_the_manifest_names(tmp_path):
    manifest = pull(tmp_path / "any", provider([["a"]])).run()
    manifest.pages, manifest.attempts = 12, [(page, 1 + page % 2) for page in range(12)]
    folders = {n: attempt(tmp_path, n, provider([]), MemoryCheckpoint()).parts for n in (1, 2)}
    for page in range(12):
        for number, parts in folders.items():
            parts.write("image", page, [f"{number}\n"])
    found = folders[2].tsv_files("image", manifest)
    assert [int(path.read_text()) for path in found] == [1 + page % 2 for page in range(12)]


def test_a_full_disk_loses_nothing(tmp_path):
    """The kernel refuses to extend a file; what was read before is loaded, and the next attempt resumes."""
    pages = [["a"], [f"long-{n:0200}" for n in range(2000)], ["b"]]
    checkpoint, limits = MemoryCheckpoint(), resource.getrlimit(resource.RLIMIT_FSIZE)
    failing = pull(tmp_path, provider(pages), checkpoint)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 18, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            failing.run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    manifest = failing.parts.load()
    assert (manifest.pages, manifest.counts["image"].written) == (1, 1)
    assert rows(failing) == ["a"]
    assert len(list(failing.parts.folder.glob("*.tsv"))) == 1
    again = pull(tmp_path, provider(pages), checkpoint)
    assert again.run().complete
    assert rows(again) == [item for page in pages for item in page]


def test_a_record_that_no_encoder_expects_is_a_reject(tmp_path):
    class Careless(Example):
        name = "example"

        def record(self, raw):
            return image(raw, "cc0" if raw == "bad" else CC0)  # the name of a license is none

    Careless.pages = Scripted([["a", "bad", "b"]])
    pulled = pull(tmp_path, Careless())
    counts = pulled.run().counts["image"]
    assert rows(pulled) == ["a", "b"]
    assert [reason.split(":")[:2] for reason in counts.rejected] == [["encoding failed", " AttributeError"]]
