"""Which index an alias may be pointed at, on a real search engine."""

import re
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from catalog.core import loss_limits
from catalog.core.errors import Fatal, Refused
from catalog.data_refresh.refresh import Copy, Counted, CreatedIndex, Hidden, begin, note_index, reach, read
from catalog.data_refresh.refresh_history import (
    is_complete,
    last_behind,
    last_count,
    last_decisions,
    last_hidden,
    made_before,
)
from catalog.data_refresh.search.mapping import TERMS
from catalog.data_refresh.search.pointing import losses, media_type_of, require_hidden, require_target
from catalog.data_refresh.search.proportions import select
from catalog.data_refresh.search.recount import recount
from catalog.data_refresh.search.refresh_indexes import RefreshIndexes
from catalog.data_refresh.search.sensitive import digest_of
from catalog.data_refresh.tables.shrinkage import shrunken_alias
from catalog.database.refusals import refuse_all
from catalog.moderation.decisions import EVER
from catalog.moderation.remembered import Remembered
from catalog.tests.data_refresh.indexes import make
from catalog.tests.data_refresh.test_filtered import titled
from catalog.tests.data_refresh.test_refresh import plan, turn

pytestmark = [pytest.mark.database, pytest.mark.enable_socket]


def lost(search, alias, index, hidden=None):
    """Return what an index lacks, in words."""
    return [one.text for kind in losses(search, alias, index, "engine", hidden).values() for one in kind]


@pytest.mark.parametrize(
    ("alias", "index"),
    [("image", "image-a"), ("image-try", "image-a"), ("image-filtered", "image-a-filtered")],
)
def test_an_index_that_is_right(search, alias, index):
    make(search, index)
    assert require_target(search, alias, index).name == index


@pytest.mark.parametrize(
    ("alias", "index", "reason"),
    [
        ("image", "image-none", "index: there is no index image-none; look for it with GET _cat/indices"),
        ("audio", "image-a", "its documents are of image, the alias is one of audio"),
        ("image-filtered", "image-a", "it has sensitive media, which image-filtered must not show"),
        ("image", "image-a-filtered", "it lacks sensitive media, which image shows"),
        ("image", "image-by-hand", "the catalog did not create image-by-hand"),
        ("image-a", "image-b", "image-a is an index, so it cannot be an alias"),
    ],
)
def test_an_index_that_is_refused(search, alias, index, reason):
    for name in ("image-a", "image-b", "image-a-filtered"):
        make(search, name)
    search.client.indices.create(index="image-by-hand")
    with pytest.raises(Refused, match=re.escape(reason)):
        require_target(search, alias, index)


def test_another_alias_is_no_index(search):
    make(search, "image-a")
    search.swap_aliases({"image-other": "image-a"})
    with pytest.raises(Fatal, match="image-other is an alias of image-a, not an index"):
        require_target(search, "image", "image-other")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"blocks.read_only": True}, "image-a has index.blocks.read_only, so image cannot be pointed at it"),
        (None, "image-a is closed; open it (POST image-a/_open)"),
    ],
)
def test_an_index_that_cannot_be_searched_or_written(search, settings, reason):
    make(search, "image-a")
    if settings:
        search.client.indices.put_settings(index="image-a", settings={"index": settings})
    else:
        search.client.indices.close(index="image-a")
    try:
        with pytest.raises(Refused, match=re.escape(reason)):
            require_target(search, "image", "image-a")
    finally:
        if settings:
            free = {"index": {"blocks.read_only": None}}
            search.client.indices.put_settings(index="image-a", settings=free)


def test_an_index_whose_documents_cannot_all_be_found(search, faulty):
    between, own = faulty
    make(search, "image-a")
    between.times("GET /_cluster/health/image-a", 9, 200, {"status": "red"})
    with pytest.raises(Refused, match="its status is red"):
        require_target(own, "image", "image-a")


def test_far_fewer_documents(search):
    titled(search, [f"t{n}" for n in range(20)])
    search.swap_aliases({"image": "image-a"})
    titled(search, [f"t{n}" for n in range(10)], "image-b")
    [finding] = lost(search, "image", "image-b")
    assert finding.startswith("documents of image: 10 instead of 20 that are live")
    titled(search, [f"t{n}" for n in range(11)], "image-b")
    assert lost(search, "image", "image-b") == []
    assert lost(search, "image-new", "image-b") == []


def test_an_index_made_with_another_list_of_terms(search):
    titled(search, ["a violin", "a drum"], "image-a-filtered")  # of a release that did not tell the list
    require_hidden(search, "image-a-filtered", ["flute"])
    with pytest.raises(Refused, match=r"1 of its documents .*: create_filtered_image_index\.$"):
        require_hidden(search, "image-a-filtered", ["flute", "violin"])
    [warning] = require_hidden(search, "image-a-filtered", ["flute", "violin"], was_live=True)
    assert "1 of its documents are sensitive now. It is accepted, because" in warning
    assert require_hidden(search, "image-a-filtered", ["flute"], was_live=True) == []


def test_a_copy_of_a_filtered_index_tells_its_list_of_terms(catalog, search):
    """Documents of a filtered index lack the words in which only terms are searched."""
    digest = digest_of(["flute"])
    made = begin(catalog, turn(catalog), plan("image-1", terms=digest))
    for name in ("image-1", "image-1-filtered"):
        RefreshIndexes(made, search).create(name, 1)
    copied = begin(
        catalog, turn(catalog, "2"), plan("image-2-filtered", copy=Copy("image-1-filtered", "u", {}))
    )
    RefreshIndexes(copied, search).create("image-2-filtered", 1)
    assert "sensitive_terms_digest" not in search.meta("image-1")
    for name in ("image-1-filtered", "image-2-filtered"):
        require_hidden(search, name, ["flute"])
        with pytest.raises(Refused, match="another list of sensitive terms; 0 of its documents"):
            require_hidden(search, name, ["flute", "violin"])


def test_an_index_that_hides_far_less(search):
    for name, number in {"image-a": 40, "image-a-filtered": 20, "image-b-filtered": 40}.items():
        titled(search, [f"t{n}" for n in range(number)], name)
    search.swap_aliases({"image": "image-a", "image-filtered": "image-a-filtered"})
    [finding] = lost(search, "image-filtered", "image-b-filtered")
    assert finding.startswith("documents that image-filtered hides as sensitive: 0 instead of 20")
    titled(search, [f"t{n}" for n in range(39)], "image-b-filtered")  # so few may have other texts now
    assert lost(search, "image-filtered", "image-b-filtered") == []


@pytest.mark.parametrize("terms", ["the same", "other ones", ""])
def test_an_index_that_hides_far_less_by_the_same_list(catalog, search, terms):
    """The records with a term have other texts, or are gone."""
    numbers = {"image-a": 40, "image-a-filtered": 20, "image-b": 40, "image-b-filtered": 40}
    for name, number in numbers.items():
        titled(search, [f"t{n}" for n in range(number)], name)
    search.swap_aliases({"image": "image-a", "image-filtered": "image-a-filtered"})
    for name, noted in {"image-a-filtered": terms, "image-b-filtered": "the same"}.items():
        mapping = {"_meta": {**search.meta(name), TERMS: noted}}
        search.client.indices.put_mapping(index=name, body=mapping)
    planned = msgspec.structs.replace(
        plan("image-b"),
        live={alias: search.resolve_alias(alias) for alias in ("image", "image-filtered")},
        documents={alias: search.sources(alias) for alias in ("image", "image-filtered")},
    )
    own = RefreshIndexes(begin(catalog, turn(catalog), planned), search)
    if terms == "the same":
        own.refuse_shrinkage("image-b-filtered", judge=refuse_all)
        assert lost(search, "image-filtered", "image-b-filtered") == []
    else:
        said = "hides as sensitive: 0 instead of 20 that image-"
        with pytest.raises(Refused, match=said):
            own.refuse_shrinkage("image-b-filtered", judge=refuse_all)
        [finding] = lost(search, "image-filtered", "image-b-filtered")
        assert said in finding


@pytest.mark.parametrize("terms", ["the same", "other ones"])
def test_an_index_that_hides_far_less_than_the_one_that_is_lost(catalog, search, terms):
    """The catalog remembers what the index has hidden that no alias points at any more."""
    hidden = Hidden("image-a-filtered", 20, "the same")
    for name in ("image-a", "image-b", "image-b-filtered"):
        titled(search, [f"t{n}" for n in range(40)], name)
    search.swap_aliases({"image": "image-a"})
    mapping = {"_meta": {**search.meta("image-b-filtered"), TERMS: terms}}
    search.client.indices.put_mapping(index="image-b-filtered", body=mapping)
    planned = msgspec.structs.replace(plan("image-b"), documents={"image": search.sources("image")})
    own = RefreshIndexes(begin(catalog, turn(catalog), planned), search)
    own.refuse_shrinkage("image-b-filtered", judge=refuse_all)  # nothing is known
    if terms == "the same":
        own.refuse_shrinkage("image-b-filtered", judge=refuse_all, hidden=hidden)
        assert lost(search, "image-filtered", "image-b-filtered", hidden) == []
    else:
        said = "hides as sensitive: 0 instead of 20 that image-a-filtered hides"
        with pytest.raises(Refused, match=said):
            own.refuse_shrinkage("image-b-filtered", judge=refuse_all, hidden=hidden)
        [finding] = lost(search, "image-filtered", "image-b-filtered", hidden)
        assert said in finding


def test_an_index_that_was_made_before_a_refresh(catalog):
    def promoted(run_id, name, **more):
        planned = msgspec.structs.replace(plan(name), **more)
        found = begin(catalog, turn(catalog, run_id), planned)
        note_index(catalog, found, name, CreatedIndex(name, 5))
        reach(catalog, found, "promoted")

    promoted("1", "image-1")
    promoted("4", "image-4", mode="index_only")
    promoted("5", "image-5", search="of staging")
    for name in ("image-1", "unknown"):
        assert made_before(catalog, name, "image", "search") is None
    promoted("6", "image-4", mode="incremental")
    assert made_before(catalog, "image-4", "image", "search") is None
    assert made_before(catalog, "image-1", "image", "search")


def test_an_index_is_as_old_as_what_it_was_made_from(catalog):
    """A copy of a copy, and a filtered index, have no documents that their origins lacked then."""

    def begun(planned, *names):
        found = begin(catalog, turn(catalog, str(len(runs))), planned)
        for name in names:
            note_index(catalog, found, name, CreatedIndex(f"uuid of {name}", 5))
        reach(catalog, found, "promoted")
        runs.append(found)

    def refreshed(name, **more):
        begun(plan(name, **more), name, f"{name}-filtered")

    def copied(origin, name):
        begun(
            msgspec.structs.replace(
                plan(name, mode="copy", copy=Copy(origin, f"uuid of {origin}", {})),
                table="",
                aliases={},
                filtered="",
            ),
            name,
        )

    def filtered(origin, name):
        begun(
            msgspec.structs.replace(plan(origin), table="", filtered=name, aliases={"image-filtered": name}),
            origin,  # is recorded, too
            name,
        )

    def pointed(name):
        begun(msgspec.structs.replace(plan(name, mode="alias"), table="", aliases={"image": name}), name)

    def old(*names):
        return [name for name in names if made_before(catalog, f"uuid of {name}", "image", "search")]

    runs: list[object] = []
    refreshed("image-1")
    copied("image-1", "image-early")
    copied("image-of-an-earlier-release", "image-unknown")
    assert old("image-1", "image-early", "image-unknown") == []
    refreshed("image-1", mode="incremental")
    assert old("image-1", "image-early", "image-unknown") == ["image-early", "image-unknown"]
    copied("image-1", "image-late")
    copied("image-early", "image-early-2")
    copied("image-unknown", "image-unknown-2")
    copied("image-1-filtered", "image-late-filtered")
    pointed("image-early")
    filtered("image-1", "image-good-filtered")
    filtered("image-early-2", "image-bad-filtered")
    copied("image-bad-filtered", "image-bad-2-filtered")
    good = ("image-1", "image-late", "image-good-filtered", "image-late-filtered")
    bad = (
        "image-early",
        "image-early-2",
        "image-unknown",
        "image-unknown-2",
        "image-bad-filtered",
        "image-bad-2-filtered",
    )
    assert old(*good, *bad) == list(bad)
    refreshed("image-2")
    filtered("image-1", "image-1-late-filtered")
    assert old(*good, *bad, "image-1-late-filtered") == [*good, *bad, "image-1-late-filtered"]
    assert old("image-2", "image-2-filtered") == []


def test_the_last_index_behind_an_alias(catalog):
    """Of the runs that were promoted; those that made or moved another alias do not count."""

    def begun(name, stage="promoted", aliases=None, **more):
        planned = plan(name, **more)
        if aliases is not None:
            planned = msgspec.structs.replace(planned, aliases=aliases)
        found = begin(catalog, turn(catalog, name), planned)
        note_index(catalog, found, name, CreatedIndex(f"uuid of {name}", 5))
        note_index(catalog, found, f"{name}-filtered", CreatedIndex(f"uuid of {name}-filtered", 5))
        reach(catalog, found, stage)

    assert last_behind(catalog, "image-filtered", "search") is None
    begun("image-1")
    begun("image-2", "tables")
    begun("image-3", aliases={"image": "image-3"}, mode="alias")
    begun("image-4", aliases={}, mode="copy")
    assert last_behind(catalog, "image-filtered", "search") == "uuid of image-1-filtered"
    assert last_behind(catalog, "image", "search") == "uuid of image-3"
    assert last_behind(catalog, "image-filtered", "of staging") is None
    begun("image-5", aliases={"image-filtered": "image-5-filtered"})  # of create_filtered_image_index
    assert last_behind(catalog, "image-filtered", "search") == "uuid of image-5-filtered"


def test_what_the_last_index_behind_an_alias_has_hidden(catalog):
    """Of the runs that were promoted, and have counted the documents of both indexes."""

    def begun(name, documents, stage="promoted", **more):
        found = begin(catalog, turn(catalog, name), plan(name, terms="a list", **more))
        for made, number in zip((name, f"{name}-filtered"), documents, strict=True):
            note_index(catalog, found, made, CreatedIndex(f"uuid of {made}", number))
        reach(catalog, found, stage)

    assert last_hidden(catalog, "image-filtered", "search") is None
    begun("image-1", (100, 80))
    begun("image-2", (100, 70), "tables")
    begun("image-3", (100, None))
    begun("image-4", (100, 60), mode="alias")
    assert last_hidden(catalog, "image-filtered", "search") == Hidden("image-1-filtered", 20, "a list")
    assert last_hidden(catalog, "image-filtered", "of staging") is None
    begun("image-5", (110, 85))
    assert last_hidden(catalog, "image-filtered", "search") == Hidden("image-5-filtered", 25, "a list")


def test_decisions_of_the_last_promoted_refresh(catalog):
    known = {"deleted": Remembered(410, ["a"], ["b"]), "mature": Remembered(3)}
    found = begin(catalog, turn(catalog), plan(remembered=known))
    assert last_decisions(catalog, "image", "api") == {}
    reach(catalog, found, "promoted")
    assert last_decisions(catalog, "image", "api") == known
    assert last_decisions(catalog, "image", "staging") == last_decisions(catalog, "audio", "api") == {}


def test_a_plan_of_an_earlier_release_is_continued(catalog):
    """It has the number of decisions."""
    mine = turn(catalog)
    begin(catalog, mine, plan())
    catalog.execute("""update refresh set plan = plan - 'remembered' || '{"decisions": 4711}'""")
    assert read(catalog, mine).plan.remembered is None
    reach(catalog, read(catalog, mine), "promoted")
    assert last_decisions(catalog, "image", "api") == {}


def test_documents_without_a_source_count_as_well(search):
    make(search, "image-a")
    for number, source in enumerate(["met", None, "met"]):
        document = {"identifier": str(number), "source": source}
        search.client.index(index="image-a", id=str(number), document=document, refresh=True)
    assert search.sources("image-a") == {"met": 2, "": 1}
    selection = select(search, "image-a", {"met": 1, "": 1})
    assert (selection.documents, selection.missing) == ({"met": 1, "": 1}, {})


def test_more_sources_than_the_engine_counts(search, monkeypatch):
    """The sum of those that it counts would be taken for the number of all documents."""
    make(search, "image-a")
    for number in range(3):
        search.client.index(index="image-a", id=str(number), document={"source": f"s{number}"}, refresh=True)
    assert search.sources("image-a") == {"s0": 1, "s1": 1, "s2": 1}
    monkeypatch.setattr("catalog.data_refresh.search.indexes.SOURCES", 2)
    with pytest.raises(Fatal, match="image-a has documents of more than 2 sources"):
        search.sources("image-a")


def test_a_source_that_is_lost_in_a_large_index():
    before = {"flickr": 100_000, "met": loss_limits.SOURCE_SIZE, "small": loss_limits.SOURCE_SIZE - 1}
    assert shrunken_alias("image", before, before, 0.1) == []
    [finding] = shrunken_alias("image", before, {**before, "met": 5, "small": 0}, 0.1)
    assert (finding.subject, finding.remains) == ("source 'met'", 5)
    assert finding.text.startswith("documents of met: 5 instead of 1,000 that are live")


def test_media_types():
    assert [media_type_of(a) for a in ("image", "audio-filtered", "image-x")] == ["image", "audio", "image"]
    for alias in ("images", "video", "imagex-y"):
        with pytest.raises(Refused, match="does not begin with a media type"):
            media_type_of(alias)


def test_an_index_is_whole_when_it_was_counted_and_its_tables_are_live(catalog):
    refresh = begin(catalog, turn(catalog), plan())
    assert is_complete(catalog, "u") is None
    note_index(catalog, refresh, "image-1", CreatedIndex("u"))
    reach(catalog, refresh, "tables")
    assert is_complete(catalog, "u") is False
    note_index(catalog, refresh, "image-1", CreatedIndex("u", 5))
    assert is_complete(catalog, "u") is True
    reach(catalog, refresh, "working")
    assert is_complete(catalog, "u") is False
    pointed = begin(catalog, turn(catalog, "2"), plan(mode="alias"))
    note_index(catalog, pointed, "image-1", CreatedIndex("u", 5))
    reach(catalog, pointed, "promoted")
    assert is_complete(catalog, "u") is False  # a run that points an alias makes no index whole


def test_the_last_count_of_an_index(catalog):
    """Of what is live; moderators' decisions count since the index was finished."""
    first = begin(catalog, turn(catalog), plan())
    note_index(catalog, first, "image-1", CreatedIndex("u", 5))
    assert last_count(catalog, "u") is None
    reach(catalog, first, "promoted")
    assert last_count(catalog, "u") == Counted(5, first.plan.since)
    later = begin(catalog, turn(catalog, "2"), msgspec.structs.replace(plan(mode="alias"), since=EVER))
    note_index(catalog, later, "image-1", CreatedIndex("u", 4))
    assert last_count(catalog, "u") == Counted(5, first.plan.since)
    reach(catalog, later, "promoted")
    assert last_count(catalog, "u") == Counted(4, later.begun_on - timedelta(hours=1))
    note_index(catalog, later, "image-1", CreatedIndex("u"))  # is being written
    assert last_count(catalog, "u") == Counted(5, first.plan.since)


def test_an_index_that_has_lost_documents(search, api):
    titled(search, [f"t{n}" for n in range(20)])
    since = datetime.now(UTC) - timedelta(hours=1)

    def missing(counted=20):
        now = recount(search, api, "image", "image-a", counted, since)
        return None if now.explained else (now.missing, now.text)

    assert missing() is None
    search.client.delete(index="image-a", id="0")
    search.client.delete(index="image-a", id="1")
    assert missing() == (2, "image-a holds 18 documents, but 20 when it was counted")
    api.execute("insert into api_deletedimage values (now(), now(), gen_random_uuid())")
    said = "image-a holds 18 documents, but 20 when it was counted; moderators have deleted 1 since"
    assert missing() == (1, said)
    api.execute("insert into api_deletedimage values (now(), now(), gen_random_uuid())")
    assert missing() is None
    more = (-1, "image-a holds 18 documents, but 17 when it was counted")
    assert missing(17) == more
