"""What errors of a real search engine say about an index, and the way out."""

import re

import pytest

from catalog.core.errors import Fatal, Retry
from catalog.data_refresh.refresh import Copy
from catalog.data_refresh.search.attempts import Attempt
from catalog.data_refresh.search.bulk import BulkSender, index_action
from catalog.data_refresh.search.client import explanation
from catalog.data_refresh.search.index_copy import CopiedIndex
from catalog.data_refresh.search.indexes import Indexes
from catalog.tests.data_refresh.indexes import make
from catalog.tests.data_refresh.test_filtered import titled

pytestmark = [pytest.mark.database, pytest.mark.enable_socket]
CLOSED = "the index image-a is closed; open it (POST image-a/_open), then clear the failed task"


def send(search):
    writer = search.require("image-a").writer
    return lambda: BulkSender(Indexes(search.client, pause=lambda _: None), writer).send(
        [index_action("x", {})]
    )


def block(search, name, value=True):
    search.client.indices.put_settings(index="image-a", settings={f"index.blocks.{name}": value})


def remedy(setting):
    return f'(PUT image-a/_settings with {{"index.blocks.{setting}": null}}), then clear the failed task'


def test_a_disk_at_the_flood_stage(search):
    make(search, "image-a")
    block(search, "read_only_allow_delete")
    with pytest.raises(Retry) as error:
        send(search)()
    assert str(error.value).startswith("the index image-a is blocked (disk usage exceeded flood-stage")
    assert "its disk is too full (flood stage): free disk space, and if the block stays" in str(error.value)
    assert remedy("read_only_allow_delete") in str(error.value)
    block(search, "read_only_allow_delete", None)
    assert send(search)().rejections == []


@pytest.mark.parametrize("name", ["write", "read_only"])
def test_an_index_that_cannot_be_written(search, name):
    make(search, "image-a")
    block(search, name)
    with pytest.raises(Fatal, match=r"^the index image-a is blocked \(index .*" + re.escape(remedy(name))):
        send(search)()
    block(search, name, None)


def test_an_index_that_cannot_be_read(search):
    make(search, "image-a")
    block(search, "read")
    with pytest.raises(
        Fatal, match=r"^the index image-a is blocked \(index read .*" + re.escape(remedy("read"))
    ):
        search.count("image-a")


def test_a_closed_index(search):
    make(search, "image-a")
    sending = send(search)
    search.client.indices.close(index="image-a")
    for call in (sending, lambda: search.count("image-a"), lambda: search.sources("image-a")):
        with pytest.raises(Fatal, match=f"^{re.escape(CLOSED)}"):
            call()


def test_an_index_that_was_deleted(search):
    make(search, "image-a")
    sending = send(search)
    search.delete(["image-a"])
    with pytest.raises(Fatal, match=r"^the index image-a is missing: clear create_index"):
        sending()


def copying(search, change):
    """Copy an index, and change something when the first documents are copied."""
    titled(search, [f"t{n}" for n in range(3000)])
    copy = Copy("image-a", search.identity("image-a").uuid, {"match_all": {}})

    def progress(done):
        if done:
            change()

    CopiedIndex(
        search,
        "image-b",
        copy,
        lambda: make(search, "image-b"),
        per_second=1500,
        attempt=Attempt(report=progress),
    ).run()


@pytest.mark.parametrize(
    ("block", "explained"),
    [
        ("SERVICE_UNAVAILABLE/1/state not recovered / initialized", False),
        ("SERVICE_UNAVAILABLE/2/no master", False),
        ("FORBIDDEN/6/cluster read-only (api)", True),
    ],
)
def test_what_passes_by_itself_needs_no_remedy(block, explained):
    error = {"type": "cluster_block_exception", "reason": f"blocked by: [{block}];"}
    assert (explanation(error) is not None) is explained


def test_an_origin_that_is_deleted_while_it_is_copied(search):
    with pytest.raises(Fatal, match=r"^the index image-a is missing, or was replaced; trigger a new run"):
        copying(search, lambda: search.delete(["image-a"]))


def test_a_new_index_that_is_closed_while_it_is_filled(search):
    with pytest.raises((Retry, Fatal), match=f"{re.escape(CLOSED.replace('image-a', 'image-b'))}"):
        copying(search, lambda: search.client.indices.close(index="image-b"))
