"""How the soak understands what a failed run says."""

import pytest

from catalog.data_refresh.identity import WAY_OUT as FILL_AGAIN
from catalog.soak.jobs import ACCEPT, CLEAR, REFUSED, WAY_OUT


@pytest.mark.parametrize(
    "message",
    [
        "The columns changed. Trigger a new run.",
        "query_id: the rows that this run had selected are gone. Trigger a new run: it selects anew.",
        "it is live already; trigger a new run",
    ],
)
def test_a_message_that_asks_for_a_new_run(message):
    assert WAY_OUT.search(message)


@pytest.mark.parametrize(
    ("message", "names"),
    [
        ("clear check_deletion, which selects them, as well.", "check_deletion"),
        ("Clear index_range and all tasks after it to fill the index once more.", "index_range"),
        (f"the index is gone: {FILL_AGAIN}.", "create_index"),
    ],
)
def test_a_message_that_names_tasks_to_clear(message, names):
    assert names in " ".join(CLEAR.findall(message)).split()[0]
    assert not WAY_OUT.search(message)


def test_refusals():
    assert REFUSED.search(
        "smk_workflow is running and may write these records; clear this task when it has ended."
    )
    assert REFUSED.search(
        "create_filtered_image_index refused: image_data_refresh (run x) is running. Wait for it"
    )
    assert not REFUSED.search("Process terminated by signal.")
    found = [
        ACCEPT.search("Either go on with it (resume_update), or give it up"),
        ACCEPT.search('trigger a run with the conf {"accept_shrinkage": true}. The old tables are live.'),
    ]
    assert [key[0] for key in found if key] == ["resume_update", "accept_shrinkage"]
