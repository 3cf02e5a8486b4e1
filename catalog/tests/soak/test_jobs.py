"""The advice that the soak reads in the message of a failed run."""

import pytest

from catalog.data_refresh.search.identity import REMEDY as FILL_AGAIN
from catalog.soak.advice import NEW_RUN, REFUSED, accepting_key, words_after_clear


@pytest.mark.parametrize(
    "message",
    [
        "The columns changed. Trigger a new run.",
        "query_id: the rows that this run had selected are gone. Trigger a new run: it selects anew.",
        "it is live already; trigger a new run",
    ],
)
def test_a_message_that_asks_for_a_new_run(message):
    assert NEW_RUN.search(message)


@pytest.mark.parametrize(
    ("message", "name"),
    [
        ("clear check_deletion, which selects them, as well.", "check_deletion"),
        ("Clear index_range and all tasks after it to fill the index again.", "index_range"),
        (f"the index is missing: {FILL_AGAIN}.", "create_index"),
    ],
)
def test_a_message_that_names_tasks_to_clear(message, name):
    assert name in words_after_clear(message)
    assert not NEW_RUN.search(message)


def test_a_message_that_refuses():
    assert REFUSED.search(
        "smk_workflow is running and may write these records; clear this task when it has ended."
    )
    assert REFUSED.search(
        "create_filtered_image_index refused: image_data_refresh (run x) is running. Wait for it"
    )
    assert not REFUSED.search("Process terminated by signal.")


@pytest.mark.parametrize(
    ("message", "key"),
    [
        ("Either go on with it (resume_update), or give it up", "resume_update"),
        (
            'trigger image_data_refresh with the conf {"accept_shrinkage": true}: it accepts',
            "accept_shrinkage",
        ),
        ("Trigger a new run.", None),
    ],
)
def test_a_message_that_names_a_conf(message, key):
    assert accepting_key(message) == key
