"""A refusal says how many records checks of links have removed since the last refresh."""

from unittest.mock import Mock

import msgspec
import pytest

from catalog.core.errors import Refused
from catalog.data_refresh.refresh import begin, reach
from catalog.data_refresh.removals import MAX_NAMED, removed_by_checks
from catalog.data_refresh.search.refresh_indexes import RefreshIndexes
from catalog.database.refusals import Found, Judged, accept_all, refuse_all
from catalog.tests.data_refresh.test_refresh import plan, turn

pytestmark = pytest.mark.database
REMOVAL = """
    insert into link_removal (media_type, provider, identifier, url, first_gone_on, last_gone_on, checks,
                              run_id, removed_on, ended_on, ended_because)
    select %(media)s, %(provider)s, gen_random_uuid(), 'https://example.org/', now(), now(), 3, 'run',
           now() + %(hours)s * interval '1 hour', case when %(ended)s then now() end,
           case when %(ended)s then 'the file answers' end
      from generate_series(1, %(number)s)
"""


def remove(catalog, provider, number, hours=1, media="image", ended=False):
    values = {"provider": provider, "number": number, "hours": hours, "media": media, "ended": ended}
    catalog.execute(REMOVAL, values)


def refresh(catalog, run_id, stage="working", **changes):
    found = begin(catalog, turn(catalog, run_id), msgspec.structs.replace(plan("image-a"), **changes))
    reach(catalog, found, stage)
    return found


def test_open_removals_since_the_last_refresh_are_counted(catalog):
    refresh(catalog, "before", "promoted", mode="full")
    refresh(catalog, "of another table", "promoted", media_type="audio")
    now = refresh(catalog, "now")
    assert removed_by_checks(catalog, now) == ""
    remove(catalog, "earlier", 9, hours=-1)
    remove(catalog, "flickr", 2)
    remove(catalog, "flickr", 5, ended=True)
    remove(catalog, "jamendo", 5, media="audio")
    remove(catalog, "met", 1200)
    assert removed_by_checks(catalog, now) == (
        "Since the last refresh, check_links has removed 1,202 records whose files are gone "
        "(1,200 of met, 2 of flickr); the table link_removal of the catalog has them."
    )
    for number in range(MAX_NAMED):
        remove(catalog, f"small {number}", 1)
    assert "1 of small 7, 2 of others);" in removed_by_checks(catalog, now)


def test_only_a_data_refresh_is_the_last_refresh(catalog):
    """A filtered index and a staging index are recorded like refreshes, but replace no table."""
    refresh(catalog, "before", "promoted")
    filtered = refresh(catalog, "filtered index", "promoted", table="")
    staging = refresh(catalog, "staging index", "promoted", search="staging")
    now = refresh(catalog, "now")
    catalog.execute(
        "update refresh set begun_on = now() + interval '2 hours' where number in (%s, %s)",
        [filtered.number, staging.number],
    )
    remove(catalog, "met", 3)
    assert "has removed 3 records" in removed_by_checks(catalog, now)


def test_a_smaller_index_is_refused_with_what_was_left_out(catalog):
    documents = {"image": {"met": 900, "flickr": 100}}
    now = refresh(catalog, "now", documents=documents, aliases={"image": "image-a"})
    own = RefreshIndexes(now, Mock(sources=lambda _: {"met": 600, "flickr": 100}))
    left_out = {"removed from their source": 1300, "rejected": 0}
    remove(catalog, "met", 300)
    match = (
        r"^documents of image: 700 instead of 1,000 that are live, .* is usual\. "
        r"Records without a document: 1,300 removed from their source\. "
        r"Since the last refresh, check_links has removed 300 records"
    )
    with pytest.raises(Refused, match=match):
        own.refuse_shrinkage(
            "image-a", judge=refuse_all, left_out=left_out, why=lambda: removed_by_checks(catalog, now)
        )
    own.refuse_shrinkage("image-a", judge=accept_all)


def test_a_filtered_index_that_hides_far_less_is_refused(catalog):
    """A server's notice that it is down parses as a list of one term, which no record contains."""
    plan = {"aliases": {"image": "image-a", "image-filtered": "image-a-filtered"}}
    documents = {"image": {"met": 1000}, "image-filtered": {"met": 900}}
    now = refresh(catalog, "now", documents=documents, index="image-a", filtered="image-a-filtered", **plan)
    shown = {"image-a": 1010, "image-a-filtered": 1000}
    engine = Mock(sources=lambda name: {"met": shown[name]}, count=shown.get, meta=lambda _: {})
    own = RefreshIndexes(now, engine)
    match = r"^documents that image-filtered hides as sensitive: 10 instead of 100 that image-filtered hides"
    match += r", so the list of terms may be a wrong one"
    unknown = ", as image-filtered does not tell by which list it was made"
    with pytest.raises(Refused, match=match + unknown):  # an earlier release has made the live one
        own.refuse_shrinkage("image-a-filtered", judge=refuse_all)
    engine.meta = lambda name: {"sensitive_terms_digest": name}
    with pytest.raises(Refused, match=match) as refused:
        own.refuse_shrinkage("image-a-filtered", judge=refuse_all)
    assert unknown not in str(refused.value)
    # What was reported of one list of terms is not accepted of another.
    subjects: set[str] = set()

    def note(found: Found) -> Judged:
        subjects.update(finding.subject for findings in found.values() for finding in findings)
        return accept_all(found)

    for terms in ("one", "another"):
        engine.meta = lambda name, terms=terms: {"sensitive_terms_digest": f"{terms} of {name}"}
        own.refuse_shrinkage("image-a-filtered", judge=note)
    assert len(subjects) == 2
    own.refuse_shrinkage("image-a-filtered", judge=accept_all)
    shown["image-a-filtered"] = 960
    own.refuse_shrinkage("image-a-filtered", judge=refuse_all)


def test_an_index_without_a_small_source_is_refused(catalog):
    documents = {"image": {"flickr": 100_000, "met": 2000}}
    now = refresh(catalog, "now", documents=documents, aliases={"image": "image-a"})
    own = RefreshIndexes(now, Mock(sources=lambda _: {"flickr": 100_000}))
    match = r"^documents of met: 0 instead of 2,000 that are live\.$"
    with pytest.raises(Refused, match=match):
        own.refuse_shrinkage("image-a", judge=refuse_all)


def test_a_filtered_index_lacks_what_the_main_index_lacks(catalog):
    """That was accepted when the main index was checked; what it lacks besides was not."""
    documents = {"image": {"flickr": 10_000, "met": 2000}, "image-filtered": {"flickr": 9000, "met": 1900}}
    now = refresh(
        catalog,
        "now",
        documents=documents,
        table="temp_import_image",
        index="image-a",
        filtered="image-a-filtered",
        aliases={"image": "image-a", "image-filtered": "image-a-filtered"},
    )
    shown = {"image-a": {"flickr": 10_000}, "image-a-filtered": {"flickr": 9000}}
    engine = Mock(sources=shown.get, count=lambda name: sum(shown[name].values()), meta=lambda _: {})
    own = RefreshIndexes(now, engine)
    with pytest.raises(Refused, match=r"documents of image: 10,000 .*; documents of met: 0 instead of 2,000"):
        own.refuse_shrinkage("image-a", judge=refuse_all)
    own.refuse_shrinkage("image-a-filtered", judge=refuse_all)
    shown["image-a"]["met"] = 900
    with pytest.raises(Refused, match=r"^documents of met: 0 instead of 1,900"):
        own.refuse_shrinkage("image-a-filtered", judge=refuse_all)
    # A filtered index that is made from an index that is there follows nothing.
    alone = refresh(catalog, "alone", **msgspec.structs.asdict(now.plan) | {"table": ""})
    shown["image-a"].pop("met")
    with pytest.raises(Refused, match=r"^documents of met: 0 instead of 1,900"):
        RefreshIndexes(alone, engine).refuse_shrinkage("image-a-filtered", judge=refuse_all)
