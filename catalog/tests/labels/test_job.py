"""Labels are staged and merged once, whatever interrupts it, and no image loses any."""

import json
import os
import re
import signal
import threading
import uuid
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime

import msgspec
import psycopg
import pytest
from psycopg import sql
from upath import UPath

from catalog.core.accepting import accepting
from catalog.core.errors import Fatal, Interrupted, Refused
from catalog.core.queries import database_time
from catalog.database.batched_update import BatchedUpdate
from catalog.database.refusals import Acceptance, accept_all, judge, refuse_all
from catalog.labels.file import version_of
from catalog.labels.lines import BAD_CONFIDENCE, NONE_FOUND, NOT_JSON, SMALL
from catalog.labels.merge import _Merge, merge, preview
from catalog.labels.request import check_least, check_provider
from catalog.labels.run import QUERY_ID, LabelRun, drop_abandoned, staging_table
from catalog.labels.staging import REPEATED, stage
from catalog.tests.database.media import change_back, count_updates, fill, killed_until_done
from catalog.tests.labels.test_lines import line
from catalog.tests.values import present

pytestmark = pytest.mark.database
OWN = {"name": "made up"}
DOG = {"name": "Dog", "accuracy": 0.973, "provider": "rekognition"}
AUDIO = """
    insert into audio (identifier, created_on, updated_on, provider, foreign_identifier, url, license,
                       removed_from_source)
    values (%s, now(), now(), 'jamendo', %s, gen_random_uuid()::text, 'by', false)
"""
WORKER = """
import sys, psycopg
from upath import UPath
from catalog.labels.merge import merge
from catalog.labels.run import LabelRun
from catalog.labels.staging import stage
with psycopg.connect(sys.argv[1], autocommit=True) as connection:
    print("begins", flush=True)
    labels = LabelRun(connection, "run", "file", "rekognition", 0)
    stage(labels, UPath({path!r}), block=5000)
    merge(labels, batch_size=40)
    print("done", flush=True)
"""


@pytest.fixture
def images(catalog):
    """A thousand images; updates of them are counted."""
    fill(catalog, 1000, ("flickr",))
    count_updates(catalog)
    return catalog


@pytest.fixture
def path(tmp_path):
    return tmp_path / "labels.jsonl"


@pytest.fixture
def second(dsn):
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


def keys(connection):
    return [key for (key,) in connection.execute("select identifier from image order by title")]


def run(connection, name="run", provider="rekognition", least=0.0):
    return LabelRun(connection, name, "file", provider, least)


def merge_file(connection, path, name="run", *, accept=False, **options):
    """Stage and merge a file; return the state and the outcome."""
    labels = run(connection, name)
    shortfall = accept_all if accept else refuse_all
    return stage(labels, UPath(path), shortfall=shortfall), merge(labels, **options)


def write(path, *lines):
    path.write_bytes(b"\n".join(lines) + b"\n")


def tags_of(connection, key):
    return connection.execute("select tags from image where identifier = %s", [key]).fetchone()[0]


def touched(connection):
    """Return the number of updates, and of rows that were updated."""
    return connection.execute("select count(*), count(distinct identifier) from touched").fetchone()


@pytest.mark.parametrize("size", [7, 5000])
def test_labels_are_merged_and_a_second_run_changes_nothing(images, second, path, size):
    known = keys(images)
    write(path, *(line(("Dog", 97.3), key=key) for key in [*known[:600], uuid.uuid4()]))
    state, outcome = merge_file(second, path, batch_size=size)
    assert (state.staged, outcome.changed, outcome.unknown, outcome.left) == (601, 600, 1, 0)
    assert touched(images) == (600, 600)
    assert tags_of(images, known[0]) == [OWN, DOG]
    assert tags_of(images, known[600]) == [OWN]
    assert images.execute("select count(*) from image where updated_on > '2024-01-01'").fetchone() == (600,)
    assert merge_file(second, path, "again")[1].changed == 0
    assert touched(images) == (600, 600)


def test_labels_that_a_trigger_takes_away_are_not_reported_as_merged(images, second, path):
    change_back(images, "new.tags := old.tags;")
    write(path, *(line(("Dog", 97.3), key=key) for key in keys(images)))
    with pytest.raises(Fatal, match="keep old values of tags, because trigger theirs of image"):
        merge_file(second, path)
    assert touched(images) == (0, 0)
    images.execute("drop trigger theirs on image")
    assert merge(run(second)).changed == len(keys(images))


def test_a_preview_changes_nothing(images, second, path):
    known = keys(images)
    write(path, *(line(("Cat", 90), ("Pet", 90), key=key) for key in known[8:10]))
    merge_file(second, path, "earlier")
    images.execute("truncate touched")
    write(path, *(line(("Dog", 97.3), key=key) for key in [*known[:9], uuid.uuid4()]))
    labels = run(second)
    stage(labels, UPath(path))
    outcome, found = preview(labels)
    assert (outcome.changed, outcome.unknown) == (9, 1)
    assert (outcome.before, outcome.after) == (2, 9)
    assert found.sample[0]["before"]["tags"] == [OWN]
    assert found.sample[0]["after"]["tags"] == [OWN, DOG]
    assert touched(images) == (0, 0)


def test_labels_of_the_provider_are_replaced_and_others_keep_their_order(images, second, path):
    cat = {"name": "Cat", "accuracy": 0.5, "provider": "rekognition"}
    other = {"name": "Cat", "provider": "clarifai", "accuracy": 0.123456789012345678901}
    key = keys(images)[0]
    images.execute(
        "update image set tags = %s where identifier = %s", [json.dumps([cat, other, "text", OWN]), key]
    )
    write(path, line(("Dog", 97.3), key=key))
    merge_file(second, path)
    assert tags_of(images, key) == [other, "text", OWN, DOG]


def test_a_load_that_follows_finds_no_difference(images, second, path):
    key = keys(images)[0]
    images.execute(
        'update image set tags = \'[{"name": "own", "provider": "flickr"}]\' where identifier = %s', [key]
    )
    write(path, line(("Dog", 97.3), key=key))
    merge_file(second, path)
    same = 'select merged_tags(tags, \'[{"name": "own", "provider": "flickr"}]\', \'flickr\') = tags'
    assert images.execute(f"{same} from image where identifier = %s", [key]).fetchone() == (True,)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (None, [DOG]),
        ("null", [DOG]),
        ("[]", [DOG]),
        ('["Dog", 7, null, ["rekognition"]]', ["Dog", 7, None, ["rekognition"], DOG]),
        ('[{"provider": {"provider": "rekognition"}}]', [{"provider": {"provider": "rekognition"}}, DOG]),
        ('[{"name": "x", "more": 1}]', [{"name": "x", "more": 1}, DOG]),
        ('[{"name": "x", "provider": "rekognition", "more": 1}]', [DOG]),
        ("{}", {}),
        ('"Dog"', "Dog"),
        ('{"name": "x", "provider": "rekognition"}', {"name": "x", "provider": "rekognition"}),
    ],
)
def test_odd_tags_stay(images, second, path, stored, expected):
    key = keys(images)[0]
    images.execute("update image set tags = %s where identifier = %s", [stored, key])
    write(path, line(("Dog", 97.3), key=key))
    outcome = merge_file(second, path)[1]
    assert tags_of(images, key) == expected
    assert outcome.left == (0 if isinstance(expected, list) else 1)
    assert merge_file(second, path, "again")[1].changed == 0


def test_bad_lines_and_lines_without_labels_change_nothing(images, second, path):
    first, other = keys(images)[:2]
    write(path, line(("Dog", 97.3), key=first), line(("Dog", 97.3), key=other))
    merge_file(second, path)
    write(path, line(key=first), b"{", b"", line(("Cat", 101), key=other))
    state, outcome = merge_file(second, path, "again")
    assert (state.staged, state.lines, outcome.changed) == (0, 4, 0)
    assert state.unmerged.numbers[NONE_FOUND] == state.unmerged.numbers[NOT_JSON] == 1
    assert state.unmerged.examples[NOT_JSON] == ["line 2: '{'"]
    assert tags_of(images, first) == tags_of(images, other) == [OWN, DOG]


ERROR = b'{"image_uuid": "%s", "response": {"Error": "ThrottlingException"}}'
LACKS = r"Nothing was merged, .* stay\. Have it written again if it is wrong\.$"


@pytest.mark.parametrize(
    ("good", "errors", "refused"), [(10, 4, False), (20, 5, False), (20, 6, True), (20, 980, True)]
)
def test_a_file_of_which_many_lines_cannot_be_used_is_refused(images, second, path, good, errors, refused):
    known = keys(images)
    write(path, *(line(("Dog", 97.3), key=key) for key in known))
    merge_file(second, path)
    write(
        path,
        *(line(("Cat", 97.3), key=key) for key in known[:good]),
        *(ERROR % str(uuid.uuid4()).encode() for _ in range(errors)),
    )
    labels = run(second, "again")
    if refused:
        numbers = f"{errors} of {good + errors:,} lines of file cannot be used"
        said = rf"^file: {numbers} .*: line {good + 1}: '.*{LACKS}"
        for _ in range(2):  # also if the task is cleared
            with pytest.raises(Refused, match=said):
                stage(labels, UPath(path), block=700)
        assert all(tags_of(images, key) == [OWN, DOG] for key in known)
    stage(labels, UPath(path), shortfall=accept_all if refused else refuse_all)
    assert merge(labels).changed == good
    assert tags_of(images, known[good]) == [OWN, DOG]


def refused(connection, path, name="refused"):
    """Return why the staging of a file is refused, which a dry run does, too."""
    with pytest.raises(Refused) as caught:
        stage(run(connection, name), UPath(path))
    assert re.search(LACKS, str(caught.value))
    return str(caught.value)


def test_an_image_keeps_its_labels_unless_all_those_of_its_line_are_understood(images, second, path):
    """As when a service writes most confidences as text."""
    known = keys(images)[:20]
    write(path, *(line(("Dog", 97.3), ("Cat", 90), key=key) for key in known))
    merge_file(second, path)
    write(path, *(line(("Dog", 97.3), ("Cat", "90" if n < 4 else 90), key=k) for n, k in enumerate(known)))
    state, outcome = merge_file(second, path, "again")
    assert (outcome.changed, state.unmerged.numbers) == (0, {BAD_CONFIDENCE: 4})
    write(path, *(line(("Dog", 97.3), ("Cat", "90"), key=key) for key in known))
    said = refused(second, path)
    assert "20 of 20 lines of file cannot be used (100%), where 20% is the most that is usual" in said
    assert f"({BAD_CONFIDENCE}: line 1: " in said
    assert merge_file(second, path, "accepted", accept=True)[1].changed == 0
    assert all(len(tags_of(images, key)) == 3 for key in known)


def test_lines_of_another_scale_replace_nothing_wherever_they_are(images, second, path):
    """As when the service has changed its scale, or two files were joined."""
    known = keys(images)
    write(path, *(line(("Dog", 97.3), key=key) for key in known))
    merge_file(second, path)
    write(path, *(line(("Dog", 97.3 if n < 700 else 0.973), key=key) for n, key in enumerate(known)))
    said = refused(second, path)
    assert "300 of 1,000 lines of file cannot be used (30%)" in said
    assert f"({SMALL}: line 701: " in said
    merge_file(second, path, "accepted", accept=True)
    assert all(tags_of(images, key) == [OWN, DOG] for key in known)


@pytest.mark.parametrize(
    ("unknown", "total", "many"),
    [
        (1, 1, True),
        (2, 2, True),
        (1, 3, False),
        (9, 10, False),
        (20, 100, False),
        (3, 3, True),
        (21, 100, True),
        (100, 100, True),
    ],
)
def test_a_file_of_other_images_is_refused(images, second, path, unknown, total, many):
    """As one of another catalog, or of another environment's."""
    known = keys(images)[: total - unknown]
    write(path, *(line(("Dog", 97.3), key=key) for key in [*known, *(uuid.uuid4() for _ in range(unknown))]))
    if many:
        said = refused(second, path)
        assert f"{unknown} of {total} images of file are not in the catalog ({unknown / total:.0%})" in said
        assert "audio" not in said
    assert merge_file(second, path, accept=many)[1].changed == len(known)


def test_a_file_of_audio_files_is_refused(images, second, path):
    others = [uuid.uuid4() for _ in range(30)]
    images.cursor().executemany(AUDIO, [[key, key.hex] for key in others])
    write(path, *(line(("Dog", 97.3), key=key) for key in [*keys(images)[:70], *others]))
    assert "30 of 100 images of file are not in the catalog (30%)" in refused(second, path)
    assert "; 30 of them are audio files." in refused(second, path)


@pytest.mark.parametrize(("images_with_one", "many"), [(400, False), (401, True), (1000, True)])
def test_a_file_that_would_take_many_labels_away_is_refused(images, second, path, images_with_one, many):
    """As an older file, or one of another model; a run resumes, whatever it has merged."""
    known, two = keys(images), [("Dog", 97.3), ("Cat", 90)]
    write(path, *(line(*two, key=key) for key in known))
    merge_file(second, path)
    write(path, *(line(*two[: 1 if n < images_with_one else 2], key=key) for n, key in enumerate(known)))
    if many:
        assert f"have 2,000 labels of rekognition, and would have {2000 - images_with_one:,} (" in (
            refused(second, path)
        )
        assert all(len(tags_of(images, key)) == 3 for key in known[:3])
    assert merge_file(second, path, "again", accept=many)[1].changed == images_with_one


@pytest.mark.parametrize("audio", [False, True])
def test_of_a_large_file_some_images_are_looked_up(images, second, path, monkeypatch, audio):
    """All of them would be read for hours, which nothing can interrupt."""
    monkeypatch.setattr("catalog.labels.shortfall.LOOKED_UP", 100)
    unknown = [uuid.UUID(int=n) for n in range(30)] + [uuid.UUID(int=(1 << 128) - n) for n in range(1, 31)]
    if audio:
        images.cursor().executemany(AUDIO, [[key, key.hex] for key in unknown])
    write(path, *(line(("Dog", 97.3), key=key) for key in [*keys(images), *unknown]))
    said = refused(second, path)
    assert "30 of 100 images of file with the lowest identifiers are not in the catalog (30%)" in said
    assert ("; 30 of them are audio files." in said) is audio


def test_of_a_large_file_the_labels_of_some_images_are_counted(images, second, path, monkeypatch):
    monkeypatch.setattr("catalog.labels.shortfall.LOOKED_UP", 100)
    known, two = sorted(keys(images)), [("Dog", 97.3), ("Cat", 90)]
    write(path, *(line(*two, key=key) for key in known))
    merge_file(second, path)
    write(path, *(line(*two[: 1 if n < 100 else 2], key=key) for n, key in enumerate(known)))
    said = refused(second, path)
    assert "the images of file with the lowest identifiers have 200 labels of rekognition, and would " in said
    outcome, _ = preview(run(second, "refused"))
    assert (outcome.before, outcome.after) == (2000, 1900)  # a dry run that is accepted counts all


def test_a_file_that_its_lines_refuse_is_not_compared_with_the_images(images, second, path):
    write(path, *(ERROR % str(key).encode() for key in keys(images)))
    second.execute("set lock_timeout = '1s'")
    with images.transaction():
        images.execute("lock table image")
        assert "1,000 of 1,000 lines of file cannot be used" in refused(second, path)


def test_labels_of_others_and_odd_tags_are_no_loss(images, second, path):
    other = json.dumps([{"name": f"{n}", "provider": "clarifai"} for n in range(50)])
    images.execute("update image set tags = %s where title like '%%1'", [other])
    images.execute("update image set tags = '{}' where title like '%2'")
    images.execute("update image set tags = '[7, null, [], {}]' where title like '%3'")
    write(path, *(line(("Dog", 97.3), key=key) for key in keys(images)))
    assert merge_file(second, path)[1].changed == 900


def test_lines_below_the_least_confidence_can_be_used(images, second, path):
    known = keys(images)
    write(path, *(line(("Dog", 97.3 if n < 20 else 40), key=key) for n, key in enumerate(known)))
    assert stage(run(second, least=80), UPath(path)).staged == 20


def test_lines_in_which_the_service_found_nothing_can_be_used(images, second, path):
    known = keys(images)
    write(path, *(line(*[("Dog", 97.3)] * (n < 20), key=key) for n, key in enumerate(known)))
    assert stage(run(second), UPath(path)).staged == 20


@pytest.mark.parametrize("size", [700, 1 << 20])
def test_a_file_that_ends_within_a_line_is_refused(images, second, path, size):
    known = keys(images)[:21]
    write(path, *(line(("Dog", 97.3), key=key) for key in known))
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(Refused, match=rf"^file: file ends within its last line, .*\(line 21: '.*{LACKS}"):
        stage(run(second), UPath(path), block=size)
    assert merge_file(second, path, "accepted", accept=True)[1].changed == 20
    path.write_bytes(b"\n".join(line(("Dog", 97.3), key=key) for key in known))  # whole, without a line end
    assert merge_file(second, path, "whole")[1].changed == 1


def test_of_several_lines_of_an_image_the_last_one_counts(images, second, path):
    first, other = keys(images)[:2]
    write(
        path,
        line(("Cat", 99), key=first),
        line(("Cat", 98), key=first),
        line(("Dog", 97.3), key=other),
        line(("Dog", 97.3), key=first),
    )
    state, outcome = merge_file(second, path)
    assert (state.staged, state.unmerged.numbers, outcome.changed) == (2, {REPEATED: 2}, 2)
    assert tags_of(images, first) == [OWN, DOG]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_killed_again_and_again(dsn, images, path, how):
    known = keys(images)
    write(path, *(line(("Dog", 97.3), key=key) for key in known for _ in range(2)), b"{")
    assert killed_until_done(WORKER.replace("{path!r}", repr(str(path))), dsn, how) > 0
    assert touched(images) == (1000, 1000)
    state = present(run(images).state())
    assert (state.lines, state.staged) == (2001, 1000)
    assert state.unmerged.numbers == {REPEATED: 1000, NOT_JSON: 1}
    assert present(state.result).changed == 1000


def test_staging_stops_between_blocks_and_goes_on(images, second, path):
    write(path, *(line(("Dog", 97.3), key=key) for key in keys(images)))
    stops = 0
    while True:
        try:
            state = stage(run(second), UPath(path), block=20_000, should_stop=lambda: True)
        except Interrupted:
            stops += 1
            continue
        break
    assert stops > 3
    assert (state.lines, state.staged, state.read_to) == (1000, 1000, path.stat().st_size)


def test_a_file_that_changes_before_it_is_read_to_its_end_is_refused(images, second, path):
    text = [line(("Dog", 97.3), key=key) for key in keys(images)]
    write(path, *text)
    with pytest.raises(Interrupted):
        stage(run(second), UPath(path), block=20_000, should_stop=lambda: True)
    write(path, *text, b"{}")
    with pytest.raises(Refused, match="has changed since this run began to read it"):
        stage(run(second), UPath(path))
    with pytest.raises(Refused, match="bytes are staged; clear the task that stages them"):
        merge(run(second))


def test_a_file_that_changes_while_it_is_read_is_refused(images, second, path):
    write(path, *(line(("Dog", 97.3), key=key) for key in keys(images)))

    def change(_done, _total):
        path.write_bytes(path.read_bytes()[:-1] + b" ")  # of the same size
        path.touch()

    with pytest.raises(Refused, match="has changed"):
        stage(run(second), UPath(path), block=1 << 30, progress=change)


@pytest.mark.parametrize("how", ["drop table {}", "truncate {}", "delete from {} where line < 500"])
def test_staged_labels_that_are_gone_cost_no_image_its_labels(images, second, path, how):
    write(path, *(line(("Dog", 97.3), key=key) for key in keys(images)))
    merge_file(second, path, "first")
    before = images.execute(
        "select md5(string_agg(tags::text, '' order by identifier)) from image"
    ).fetchone()
    write(path, *(line(("Cat", 97.3), key=key) for key in keys(images)))
    labels = run(second)
    stage(labels, UPath(path))
    images.execute(how.format(staging_table("run")))
    for work in (merge, preview, lambda run: stage(run, UPath(path))):
        with pytest.raises(Refused, match=r"the labels of this run are gone.*Trigger a new run"):
            work(labels)
    after = images.execute("select md5(string_agg(tags::text, '' order by identifier)) from image").fetchone()
    assert after == before


def test_labels_that_go_during_the_merge(images, second, path):
    known = keys(images)
    write(path, *(line(("Dog", 97.3), key=key) for key in known))
    merge_file(second, path, "first")
    write(path, *(line(("Cat", 97.3), key=key) for key in known))
    labels = run(second)
    stage(labels, UPath(path))

    def drop(progress):
        if progress.next_row > 400:
            images.execute(f"truncate {staging_table('run')}")

    with pytest.raises(Refused, match="the labels of this run are gone"):
        merge(labels, batch_size=100, progress=drop)
    assert {len(tags) for (tags,) in images.execute("select tags from image")} == {2}

    labels = run(second, "other")
    stage(labels, UPath(path))
    gone = f"drop table if exists {staging_table('other')}"
    with pytest.raises(Fatal, match="Trigger a new run, which reads the file again"):
        merge(labels, batch_size=100, progress=lambda _: images.execute(gone))
    assert {len(tags) for (tags,) in images.execute("select tags from image")} == {2}


def test_a_run_that_has_ended_does_nothing_more(images, second, path):
    known = keys(images)
    write(path, *(line(("Dog", 97.3), key=key) for key in known[:9]))
    outcome = merge_file(second, path)[1]
    labels = run(second)
    labels.drop()
    images.execute("update image set tags = '[]'")
    images.execute("truncate touched")
    path.unlink()
    assert labels.ended().result == outcome
    assert merge(labels) == outcome
    assert touched(images) == (0, 0)


def test_a_task_that_is_cleared_too_early_names_the_one_before(second, path):
    with pytest.raises(Refused, match="clear the task that stages the labels"):
        merge(run(second))
    write(path, line(("Dog", 97.3)))
    stage(run(second), UPath(path), shortfall=accept_all)
    with pytest.raises(Refused, match="clear the task that merges them"):
        run(second).ended()


def test_another_run_waits_for_its_turn_and_has_its_own_labels(dsn, images, second, path):
    known = keys(images)
    write(path, line(("Cat", 97.3), key=known[1]))
    labels = run(second)
    stage(labels, UPath(path))
    write(path, line(("Dog", 97.3), key=known[0]))
    stage(run(images, "newer"), UPath(path))

    def beside(_progress):
        with (
            psycopg.connect(dsn, autocommit=True) as third,
            pytest.raises(Refused, match="another run of add_machine_labels is at work"),
        ):
            merge(run(third, "newer"))

    assert merge(labels, progress=beside).changed == 1
    assert tags_of(images, known[0]) == [OWN]
    second.close()
    assert merge(run(images, "newer")).changed == 1
    assert tags_of(images, known[0]) == [OWN, DOG]
    assert images.execute("select to_regclass(%s)", [f"{QUERY_ID}_rows_to_update"]).fetchone() == (None,)


def test_an_older_run_does_not_undo_a_newer_one(images, second, path):
    """As when the failed task of a run is cleared weeks later; a newer dry run has changed nothing."""
    key = keys(images)[0]
    write(path, line(("Cat", 90), key=key))
    stage(run(second, "older"), UPath(path))
    write(path, line(("Dog", 97.3), key=key))
    newer = run(second, "newer")
    stage(newer, UPath(path))
    newer.end(preview(newer)[0])
    other = run(second, "other", provider="another")
    stage(other, UPath(path))
    merge(other)
    merge_file(second, path, "newest")
    with pytest.raises(Refused, match="newer run newest has merged labels of rekognition"):
        merge(run(second, "older"))
    assert DOG in tags_of(images, key)


def test_an_older_run_does_not_undo_a_newer_one_that_is_partly_merged(images, second, path):
    """As when the newer one was killed, and the older one is cleared before it."""
    write(path, *(line(("Cat", 90), key=key) for key in keys(images)))
    stage(run(second, "older"), UPath(path))
    write(path, *(line(("Dog", 97.3), key=key) for key in keys(images)))
    newer = run(second, "newer")
    stage(newer, UPath(path))
    with pytest.raises(Interrupted):
        merge(newer, batch_size=40, should_stop=lambda: True)
    merged = [key for key in keys(images) if DOG in tags_of(images, key)]
    assert 0 < len(merged) < 1000
    with pytest.raises(Refused, match=r"newer run newer has merged labels of rekognition, or a part of them"):
        merge(run(second, "older"))
    assert all(DOG in tags_of(images, key) for key in merged)
    merge(run(second, "newer"))
    assert all(DOG in tags_of(images, key) for key in keys(images))


def changed_on(path, day):
    """Give a file the time of a day of January 2024."""
    moment = datetime(2024, 1, day, 12, tzinfo=UTC).timestamp()
    os.utime(path, (moment, moment))


def write_on(path, day, name, known):
    """Write a file in which these images have one label, at a day of January 2024."""
    write(path, *(line((name, 90), key=key) for key in known))
    changed_on(path, day)


OLDER = (
    r"^file: file was last changed on 2024-01-05 12:00:00 UTC, but labels of rekognition were merged from "
    r"file, changed on 2024-01-09 12:00:00 UTC; {} images would get other labels than they have\. Nothing "
    r"was merged, .* Give the newer file, unless the older labels are right\.$"
)


def test_an_older_file_replaces_newer_labels_only_if_somebody_accepts_it(images, second, path):
    """It has as many labels, for the same images; a dry run refuses it, too."""
    known = keys(images)[:20]
    write_on(path, 9, "Dog", known)
    merge_file(second, path, "newer")
    write_on(path, 5, "Cat", known)
    older = run(second, "older")
    for _ in range(2):  # the retry, too
        with pytest.raises(Refused, match=OLDER.format(20)):
            stage(older, UPath(path))
    assert "Dog" in {tag["name"] for tag in tags_of(images, known[0])}
    stage(older, UPath(path), older=accept_all)
    assert merge(older, older=accept_all).changed == 20
    write_on(path, 7, "Fox", known)  # the newest file counts, even after that
    with pytest.raises(Refused, match=r"last changed on 2024-01-07 .* from file, changed on 2024-01-09"):
        merge_file(second, path, "between")
    write_on(path, 10, "Owl", known)
    assert merge_file(second, path, "newest")[1].changed == 20


def judge_of(connection, name, *, accepts=True, cleared=0, key="accept_shortfall"):
    """Judge for a run of the DAG, whose conf names a provider."""
    conf = accepting({"file": "file", "provider": "clarifai"}, key)
    asked = Acceptance(accepts, "add_machine_labels", name, cleared, database_time(connection), conf)
    return lambda found: judge(connection, found, asked)


def test_only_what_was_reported_of_the_same_file_is_accepted(images, second, path):
    """By a run with the conf of the one that has reported it: labels of another provider are other ones."""
    lines = [line(("Dog", 97.3), key=key) for key in keys(images)[:70]]
    unknown = [line(("Dog", 97.3), key=uuid.uuid4()) for _ in range(40)]
    write(path, *lines, *unknown[:30])
    conf = re.escape('{"file": "file", "provider": "clarifai", "accept_shortfall": true}')
    with pytest.raises(Refused, match=rf"trigger add_machine_labels with the conf {conf}"):
        stage(run(second), UPath(path), shortfall=judge_of(images, "run", accepts=False))
    stage(run(second, "accepted"), UPath(path), shortfall=judge_of(images, "accepted"))
    with pytest.raises(Refused, match=r"30 of 100 .* \(not reported before\)"):
        stage(run(second, "least", least=80), UPath(path), shortfall=judge_of(images, "least"))
    write(path, *lines, *unknown)
    with pytest.raises(Refused, match=r"40 of 110 .* \(not reported before\).* clear this task"):
        stage(run(second, "other"), UPath(path), shortfall=judge_of(images, "other"))
    stage(run(second, "other"), UPath(path), shortfall=judge_of(images, "other", cleared=1))


def test_the_same_file_is_not_accepted_if_images_have_got_more_labels_since(images, second, path, tmp_path):
    """It would take far more away than was reported, although it is the same file."""
    known, labels = keys(images), [(name, 90) for name in ("Dog", "Cat", "Owl", "Fox", "Cow", "Pig")]

    def written(file, number):
        write(file, *(line(*labels[:number], key=key) for key in known))
        return file

    merge_file(second, written(tmp_path / "two", 2), "two")
    few = written(tmp_path / "one", 1)
    with pytest.raises(Refused, match=r"have 2,000 labels .* would have 1,000 "):
        stage(run(second), UPath(few), shortfall=judge_of(images, "run", accepts=False))
    merge_file(second, written(tmp_path / "six", 6), "six")
    with pytest.raises(Refused, match=r"have 6,000 labels .* would have 1,000 .* \(but 1,000 fewer when"):
        stage(run(second, "accepted"), UPath(few), shortfall=judge_of(images, "accepted"))


def test_what_was_reported_of_the_lines_is_not_accepted_of_the_images(images, second, path):
    known = [line(("Dog", 97.3), key=key) for key in keys(images)[:9]]
    unknown = [line(("Dog", 97.3), key=uuid.uuid4()) for _ in range(11)]
    write(path, *known, *unknown, *[b"{"] * 10)
    with pytest.raises(Refused, match="10 of 30 lines of file cannot be used"):
        stage(run(second), UPath(path), shortfall=judge_of(images, "run", accepts=False))
    with pytest.raises(Refused, match=r"^file: 11 of 20 images .* \(not reported before\)"):
        stage(run(second, "accepted"), UPath(path), shortfall=judge_of(images, "accepted"))


def test_a_file_that_is_older_than_another_one_than_was_reported(images, second, path):
    known, key = keys(images)[:20], "accept_older"
    write_on(path, 9, "Dog", known)
    merge_file(second, path, "first")
    write_on(path, 5, "Cat", known)
    older = run(second, "older")
    with pytest.raises(Refused, match='"accept_older": true'):
        stage(older, UPath(path), older=judge_of(images, "older", accepts=False, key=key))
    stage(run(second, "accepted"), UPath(path), older=judge_of(images, "accepted", key=key))
    write_on(path, 20, "Owl", known)
    merge_file(second, path, "newest")
    write_on(path, 5, "Cat", known)
    with pytest.raises(Refused, match=r"changed on 2024-01-20 .* \(not reported before\)"):
        stage(run(second, "again"), UPath(path), older=judge_of(images, "again", key=key))


def test_the_file_that_was_merged_last_may_be_merged_again(images, second, path):
    """Such as with another least confidence; also one that is older than another, which was accepted."""
    known = keys(images)[:20]
    write_on(path, 9, "Dog", known)
    for name in ("first", "again"):
        merge_file(second, path, name)
    write(path, *(line(("Cat", 90), ("Pet", 40), key=key) for key in known))
    changed_on(path, 5)
    older = run(second, "older")
    stage(older, UPath(path), older=accept_all)
    merge(older, older=accept_all)
    sure = run(second, "sure", least=80)
    stage(sure, UPath(path), shortfall=accept_all)  # half of the labels go
    assert merge(sure).changed == 20


def test_an_older_file_of_other_images_or_with_the_same_labels_is_no_older_one(images, second, path):
    """As of several files of one service, in whatever order they are merged."""
    known = keys(images)[:40]
    write_on(path, 9, "Dog", known[:20])
    merge_file(second, path, "one part")
    write_on(path, 5, "Dog", known)
    assert merge_file(second, path, "another")[1].changed == 20
    write_on(path, 3, "Cat", known[20:])  # not newer than the file of the second part, nor than the first
    with pytest.raises(Refused, match=r"last changed on 2024-01-03 .* from file, changed on 2024-01-09"):
        merge_file(second, path, "older")


def test_an_older_file_that_was_staged_before_the_newer_one_was_merged(images, second, path):
    known = keys(images)[:20]
    newer, older = run(second, "newer"), run(second, "older")
    write_on(path, 9, "Dog", known)
    stage(newer, UPath(path))
    write_on(path, 5, "Cat", known)
    stage(older, UPath(path))
    merge(newer)
    with pytest.raises(Refused, match=OLDER.format(20)):
        merge(older)
    with pytest.raises(Interrupted):
        merge(older, older=accept_all, batch_size=5, should_stop=lambda: True)
    assert merge(older).changed == 20  # it has begun, so it is resumed


@pytest.mark.parametrize("known_since", ["an earlier release", "a time to come"])
def test_a_file_whose_age_is_not_known_makes_no_other_an_older_one(images, second, path, known_since):
    known = keys(images)[:20]
    write_on(path, 9, "Dog", known)
    if known_since == "a time to come":
        os.utime(path, (4e9, 4e9))
    merge_file(second, path, "first")
    if known_since == "an earlier release":
        images.execute("update label_run set file_changed_on = null")
    write(path, *(line(("Cat", 90), key=key) for key in known))
    if known_since == "a time to come":
        os.utime(path, (4e9 - 1, 4e9 - 1))  # both count as changed when they were read
    assert merge_file(second, path, "second")[1].changed == 20


@contextmanager
def locked(dsn, table):
    """Lock a table, so that what reads it waits."""
    with psycopg.connect(dsn) as connection:
        connection.execute(sql.SQL("lock table {}").format(sql.Identifier(table)))
        yield


@pytest.mark.parametrize("step", ["last lines", "shortfall", "preview", "selection", "outcome"])
def test_a_long_statement_ends_when_the_task_is_asked_to_stop(dsn, images, second, path, monkeypatch, step):
    """Each waits for a lock here, for ever; the next attempt does the work."""
    known = keys(images)
    write(path, *(line(("Dog", 97.3), key=key) for key in known))
    labels, locks, asked = run(second), ExitStack(), threading.Event()

    def lock(*_):
        locks.enter_context(locked(dsn, labels.name if step == "last lines" else "image"))
        asked.set()

    def run_and_lock(job, progress):
        try:
            return BatchedUpdate.run(job, progress)
        finally:
            lock()

    def work():
        if step in ("last lines", "shortfall"):
            stage(labels, UPath(path), progress=lock, should_stop=asked.is_set)
        stage(labels, UPath(path))
        if step == "outcome":
            monkeypatch.setattr(_Merge, "run", run_and_lock)
        else:
            lock()
        if step == "preview":
            preview(labels, asked.is_set)
        merge(labels, should_stop=asked.is_set)

    with locks, pytest.raises(Interrupted, match="the statement was cancelled"):
        work()
    monkeypatch.undo()
    stage(labels, UPath(path))
    assert merge(labels).changed == len(known)


def test_a_service_of_which_no_labels_were_merged_is_refused_unless_it_is_accepted(images, second, path):
    """Its name may be mistyped; a dry run makes none known."""
    mistyped = "provider: no labels of rekogniton were merged before, but of rekognition; correct it"
    with pytest.raises(Refused, match=mistyped):
        check_provider(second, "rekogniton")
    check_provider(second, "clarifai", accept_new=True)
    write(path, *(line(("Dog", 97.3), key=key) for key in keys(images)))
    labels = run(second, provider="clarifai")
    stage(labels, UPath(path))
    labels.end(preview(labels)[0])
    with pytest.raises(Refused, match=r'trigger a run with the conf \{"new_service": true\}'):
        check_provider(second, "clarifai")
    labels = run(second, "again", "clarifai")
    stage(labels, UPath(path))
    merge(labels)
    check_provider(second, "clarifai")
    with pytest.raises(Refused, match="before, but of clarifai, rekognition; correct it"):
        check_provider(second, "rekogniton")


def test_a_provider_of_media_is_refused_even_before_it_has_any(images, second):
    check_provider(second, "rekognition")
    images.execute("update image set provider = 'theirs'")
    for name in ("theirs", "europeana", "cleveland_museum", "clevelandmuseum", "jamendo"):
        with pytest.raises(Refused, match=f"provider: {name} is a provider of media"):
            check_provider(second, name)


def test_a_least_confidence_from_0_to_1_is_refused(second):
    for least in (0, 1, 80):
        check_least(least)
    with pytest.raises(Refused, match="if you mean 80%, give 80"):
        check_least(0.8)


def test_labels_of_abandoned_runs_are_dropped(images, second, path):
    write(path, line(("Dog", 97.3), key=keys(images)[0]))
    stage(run(second, "old"), UPath(path))
    images.execute("update label_run set renewed_on = now() - interval '31 days'")
    stage(run(second), UPath(path))
    exists = "select to_regclass(%s) is not null"
    assert images.execute(exists, [staging_table("old")]).fetchone() == (False,)
    assert images.execute(exists, [staging_table("run")]).fetchone() == (True,)
    assert drop_abandoned(images) == []
    with pytest.raises(Refused, match="are gone"):
        stage(run(second, "old"), UPath(path))


def test_a_merge_that_ended_without_its_task_knowing(images, second, path, monkeypatch):
    write(path, line(("Dog", 97.3), key=keys(images)[0]))
    labels = run(second)
    stage(labels, UPath(path))
    with monkeypatch.context() as patch:
        patch.setattr(labels, "end", lambda _outcome: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            merge(labels)
    assert merge(run(second)).changed == 1
    assert touched(images) == (1, 1)


def test_a_new_run_with_the_id_of_an_earlier_one_reads_its_own_file(images, second, path):
    one, two = keys(images)[:2]
    write(path, line(("Dog", 97.3), key=one))
    merge_file(second, path)
    write(path, line(("Cat", 90), key=two))
    labels = run(second, provider="clarifai")
    labels.rename_earlier_run()
    stage(labels, UPath(path))
    assert merge(labels).changed == 1
    assert tags_of(images, two) == [OWN, {"name": "Cat", "accuracy": 0.9, "provider": "clarifai"}]
    assert tags_of(images, one) == [OWN, DOG]
    assert merge(labels).changed == 1  # a cleared run has nothing to do
    assert touched(images) == (2, 2)


def test_a_new_run_with_the_id_of_one_that_was_stopped_begins_anew(images, second, path):
    write(path, *(line(("Dog", 97.3), key=key) for key in keys(images)))
    labels = run(second)
    stage(labels, UPath(path))
    with pytest.raises(Interrupted):
        merge(labels, batch_size=40, should_stop=lambda: True)
    write(path, line(("Cat", 90), key=keys(images)[0]))
    labels = run(second)
    labels.rename_earlier_run()
    stage(labels, UPath(path))
    assert merge(labels).changed == 1


def test_the_id_of_an_earlier_run_is_refused_for_anything_else(images, second, path):
    """Airflow makes a deleted run again with its id; the earlier result would be reported as the new one."""
    write(path, line(("Dog", 97.3), key=keys(images)[0]))
    merge_file(second, path)
    read = version_of(UPath(path))
    run(second).check_request(read)
    run(second).check_request()  # the file was deleted since
    others = (
        (run(second, provider="clarifai"), read),
        (run(second, least=50.0), read),
        (LabelRun(second, "run", "two.jsonl", "rekognition", 0), None),
        (run(second), msgspec.structs.replace(read, version="another")),
    )
    for labels, version in others:
        with pytest.raises(Refused, match=r"the id run has read file .*Trigger a new run"):
            labels.check_request(version)
    with pytest.raises(Refused, match="an earlier run with the id run"):
        stage(run(second, provider="clarifai"), UPath(path))
