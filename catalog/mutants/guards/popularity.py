"""Guards of popularity: which rows are scored, and when a provider counts as scored."""

from catalog.mutants.guard import Guard

POPULARITY = "catalog/popularity/popularity.py"
TEST = "popularity/test_popularity.py"

GUARDS = (
    Guard(
        name="a-metric-that-is-lost",
        holds="A metric that nearly all records have lost does not become the measure of their scores.",
        row=45,
        file=POPULARITY,
        find="    if judged.refused:\n",
        replace="    if judged.refused and at_percentile:\n",
        tests=(f"{TEST}::test_a_metric_that_all_records_have_lost_is_no_truth",),
    ),
    Guard(
        name="a-loss-of-a-metric-as-it-was-reported",
        holds="Of records that have lost their metric, no more than was reported is accepted.",
        row=45,
        file=POPULARITY,
        find="        yield Finding(before.metric, there, there - lost, text)\n",
        replace="        yield Finding(before.metric, there, 0, text)\n",
        tests=(f"{TEST}::test_no_more_than_was_reported_is_accepted",),
    ),
    Guard(
        name="accepted-losses-are-remembered-no-more",
        holds="Records whose loss of a metric was accepted are asked no more.",
        row=45,
        file=POPULARITY,
        find="        now = now._replace(sample=[one for one in now.sample if one not in lost])\n",
        replace="        pass\n",
        tests=(f"{TEST}::test_small_losses_add_up",),
    ),
    Guard(
        name="deleted-records-lost-no-metric",
        holds="Records that were deleted have not lost their metric.",
        row=45,
        file=POPULARITY,
        find="        there, lost = len(known.there), len(known.lost)\n",
        replace="        there, lost = known.number, known.number - len(known.there) + len(known.lost)\n",
        tests=(f"{TEST}::test_deleted_records_have_lost_nothing_beside_others_that_never_had_a_metric",),
    ),
    Guard(
        name="small-losses-of-a-metric-add-up",
        holds="Records that have lost their metric are remembered until their loss is accepted.",
        row=45,
        file=POPULARITY,
        find="filter (where (has or identifier = any(%(lost)s::uuid[]))",
        replace="filter (where (has or identifier = any(%(lost)s::uuid[]) and false)",
        tests=(
            f"{TEST}::test_small_losses_add_up",
            f"{TEST}::test_losses_add_up_beside_deletions_and_many_new_records",
        ),
    ),
    Guard(
        name="new-records-are-asked-for-their-metric",
        holds="The records that are asked for their metric are chosen again in each refresh.",
        row=45,
        file=POPULARITY,
        find='                "sample": now.sample,\n',
        replace='                "sample": known.there if known else now.sample,\n',
        tests=(f"{TEST}::test_records_that_were_added_since_are_asked_too",),
    ),
    Guard(
        name="deleted-samples-hide-no-loss",
        holds="If all remembered records are deleted, it is still seen that no other has a metric any more.",
        row=45,
        file=POPULARITY,
        find="        had_some = (before.records or 0) - known.number >= NOTICEABLE\n",
        replace="        had_some = False\n",
        tests=(f"{TEST}::test_a_loss_is_seen_when_all_remembered_records_are_deleted",),
    ),
    Guard(
        name="scores-without-a-constant",
        holds="Without a constant there is no score.",
        row=45,
        file=POPULARITY,
        find="        or (m.constant is None and _has_scores(connection, media_type, m.provider))\n",
        replace="",
        tests=(f"{TEST}::test_scores_without_a_constant_are_removed",),
    ),
    Guard(
        name="metric-and-constant-change-together",
        holds="No metric is scored with the constant of another one.",
        row=45,
        file=POPULARITY,
        find="                       and (constant is null or metric is null)\n",
        replace="",
        tests=(
            f"{TEST}::test_another_metric_replaces_the_former_with_its_constant",
            f"{TEST}::test_a_load_never_scores_one_metric_with_the_constant_of_another",
        ),
    ),
    Guard(
        name="scored-when-each-row-is",
        holds="A provider counts as scored when each of its rows has the score of the current constant.",
        row=45,
        file=POPULARITY,
        find="            [not wrong, provider],\n        )\n    if wrong:",
        replace="            [True, provider],\n        )\n    if False:",
        tests=(f"{TEST}::test_one_row_that_differs_keeps_a_provider_due",),
    ),
    Guard(
        name="a-constant-that-comes-back",
        holds="A constant that comes back after an update that was not completed does not count as scored with.",
        row=45,
        file=POPULARITY,
        find="case when (metric, constant) = (%(metric)s::text, %(constant)s)",
        replace="case when metric = %(metric)s::text",
        tests=(f"{TEST}::test_a_constant_that_comes_back_is_due",),
    ),
    Guard(
        name="scores-of-restored-records",
        holds="A restored record has the score of the current constant.",
        row=45,
        file="catalog/database/deletion.py",
        find="    if column != SCORE:\n",
        replace="    if True:\n",
        tests=("database/test_deletion.py::test_a_restored_record_has_the_score_of_todays_constant",),
    ),
    Guard(
        name="constant-between-loads",
        holds="A constant does not change during a load, so no load writes scores of the previous one.",
        row=45,
        file=POPULARITY,
        find=(
            "        lock_provider(connection, media_type, provider)\n"
            "        # From now on, loads write scores of this constant"
        ),
        replace="        # From now on, loads write scores of this constant",
        tests=(f"{TEST}::test_a_constant_waits_for_the_load_that_knows_the_one_before",),
    ),
)
