"""Guards of the labels of an image service."""

from catalog.mutants.guard import Guard

TEST = "labels/test_job.py"

GUARDS = (
    Guard(
        name="labels-from-0-to-100",
        holds="A file whose confidences are from 0 to 1 replaces no labels.",
        row=44,
        file="catalog/labels/file.py",
        find="    if accuracies and max(accuracies) <= 1 / 100:\n",
        replace="    if False:\n",
        tests=("labels/test_lines.py::test_confidences_from_0_to_1_are_refused",),
    ),
    Guard(
        name="labels-that-are-gone-take-no-tags",
        holds="An image whose staged labels are gone keeps its tags.",
        row=44,
        file="catalog/labels/sql/merged.sql",
        find="), image.tags)\n",
        replace="), '[]')\n",
        tests=(f"{TEST}::test_labels_that_go_during_the_merge",),
    ),
    Guard(
        name="labels-are-counted-before-the-merge",
        holds="A run whose staged labels were dropped or truncated is refused.",
        row=44,
        file="catalog/labels/run.py",
        find="        if not is_there or found != state.staged:\n",
        replace="        if not is_there:\n",
        tests=(f"{TEST}::test_staged_labels_that_are_gone_cost_no_image_its_labels",),
    ),
    Guard(
        name="labels-of-one-file",
        holds="Labels of two versions of a file are not staged by one run.",
        row=1,
        file="catalog/labels/staging.py",
        find="    _check_same(run, state, file)\n",
        replace="    pass\n",
        tests=(f"{TEST}::test_a_file_that_changes_before_it_is_read_to_its_end_is_refused",),
    ),
    Guard(
        name="labels-leave-other-tags",
        holds="Tags of other providers, and those without one, stay.",
        row=37,
        file="catalog/labels/sql/merged.sql",
        find="where tag ->> 'provider' is distinct from {provider}\n",
        replace="where tag ->> 'provider' <> {provider}\n",
        tests=(f"{TEST}::test_labels_of_the_provider_are_replaced_and_others_keep_their_order",),
    ),
    Guard(
        name="labels-merged-once",
        holds="The merge of a finished run is not repeated when it is cleared.",
        row=44,
        file="catalog/labels/merge.py",
        find='    if state.result:\n        log.info("This run has merged',
        replace='    if state.result and False:\n        log.info("This run has merged',
        tests=(f"{TEST}::test_a_run_that_has_ended_does_nothing_more",),
    ),
    Guard(
        name="labels-partly-merged-are-newer",
        holds="An older run does not replace labels of a newer one that was stopped in its merge.",
        row=44,
        file="catalog/labels/merge.py",
        find="newer.merging_since is not null or ",
        replace="",
        tests=(f"{TEST}::test_an_older_run_does_not_undo_a_newer_one_that_is_partly_merged",),
    ),
    Guard(
        name="labels-of-this-run",
        holds="The images that an earlier run with the same id has selected are not those of a new one.",
        row=44,
        file="catalog/labels/run.py",
        find="            rename_selections(self.connection, QUERY_ID, self.run_id)\n",
        replace="",
        tests=(f"{TEST}::test_a_new_run_with_the_id_of_one_that_was_stopped_begins_anew",),
    ),
)
