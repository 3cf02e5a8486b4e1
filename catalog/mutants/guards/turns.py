"""Guards of turns of conflicting DAGs, and of the stored state of a refresh."""

from catalog.mutants.guard import Guard

TURNS, REFRESH = "catalog/database/turns.py", "catalog/data_refresh/refresh.py"
TEST_TURNS, TEST_REFRESH = "database/test_turns.py", "data_refresh/test_refresh.py"

GUARDS = (
    Guard(
        name="one-turn-at-a-time",
        holds="A run does not begin while a conflicting one is active.",
        row=28,
        file=TURNS,
        find='        if busy := [f"{other} (run {run})" for other, run in others if active(other, run)]:\n',
        replace="        if busy := []:\n",
        tests=(f"{TEST_TURNS}::test_the_second_waits_until_the_first_has_ended",),
    ),
    Guard(
        name="looking-around-alone",
        holds="Of runs that check for conflicts at the same moment, one gets its turn.",
        row=28,
        file=TURNS,
        find="        connection.execute(\"select pg_advisory_xact_lock(hashtext('turn'))\")\n",
        replace="",
        tests=(f"{TEST_TURNS}::test_many_runs_at_once",),
    ),
    Guard(
        name="turn-that-was-given-up",
        holds="A run that is cleared after a conflicting one has begun does not continue.",
        row=28,
        file=TURNS,
        find="    if row[1]:\n",
        replace="    if False:\n",
        tests=(f"{TEST_TURNS}::test_a_failed_run_keeps_its_turn_until_another_begins",),
    ),
    Guard(
        name="turn-during-an-exchange",
        holds="A turn is not given up during the exchange.",
        row=28,
        file=TURNS,
        find='and given_up_for is null for share"',
        replace='and given_up_for is null"',
        tests=(f"{TEST_TURNS}::test_a_turn_that_is_kept_cannot_be_given_up",),
    ),
    Guard(
        name="refresh-is-written-once",
        holds="Clearing the first task does not move the time since which moderation counts.",
        row=35,
        file=REFRESH,
        find="on conflict (number) do nothing",
        replace="on conflict (number) do update set plan = excluded.plan",
        tests=(f"{TEST_REFRESH}::test_the_state_is_written_once",),
    ),
    Guard(
        name="counted-before-it-is-live",
        holds="An index that was not checked as complete is not made live.",
        row=26,
        file=REFRESH,
        find="        if (documents := self.made(index).documents) is None:\n",
        replace="        if (documents := self.made(index).documents or 0) < 0:\n",
        tests=(f"{TEST_REFRESH}::test_a_recreated_index_was_never_counted",),
    ),
    Guard(
        name="refresh-that-shrinks",
        holds="A refresh with far fewer records than the live table is not promoted.",
        row=12,
        file="catalog/data_refresh/tables/shrinkage.py",
        find="    if loss_limits.lost_too_many(total, remaining, most):\n",
        replace="    if left < 0:\n",
        tests=(f"{TEST_REFRESH}::test_suspiciously_few",),
    ),
    Guard(
        name="tables-before-aliases",
        holds="Only complete tables and indexes are exchanged, tables first.",
        row=27,
        file="catalog/dags/data_refresh.py",
        find="            promote_tables.override(**tables)(media_type),\n"
        "            update_indexes.override(**documents)(),\n"
        "            promote_indexes.override(**documents)(),\n",
        replace="            update_indexes.override(**documents)(),\n"
        "            promote_indexes.override(**documents)(),\n"
        "            promote_tables.override(**tables)(media_type),\n",
        tests=("dags/test_refresh_order.py",),
    ),
    Guard(
        name="old-staging-index",
        holds="The previous index of an alias is kept unless its deletion is requested.",
        row=25,
        file="catalog/dags/groups/indexing.py",
        find='    if not params["delete_old_index"] or not old or old in refresh.plan.aliases.values():\n',
        replace="    if not old or old in refresh.plan.aliases.values():\n",
        tests=("e2e/test_data_refresh.py::test_the_full_staging_index",),
        seconds=600,
    ),
    Guard(
        name="turns-of-a-lost-state",
        holds="After a restore of the catalog, no earlier run continues.",
        row=48,
        file="catalog/recovery/restored.py",
        find='where given_up_for is null"',
        replace='where false"',
        tests=("database/test_restored.py::test_no_run_continues_from_lost_state",),
    ),
    Guard(
        name="numbers-of-a-lost-state",
        holds="No turn reuses the number of a lost one, which a partial copy in the API database may have.",
        row=48,
        file="catalog/recovery/restored.py",
        find="BEYOND = 1_000_000  # ",
        replace="BEYOND = 0  # ",
        tests=("database/test_restored.py::test_no_run_continues_from_lost_state",),
    ),
    Guard(
        name="keys-of-a-lost-state",
        holds="A deleted record is not recovered from the API's database.",
        row=48,
        file="catalog/recovery/taken_back.py",
        find="not exists (select from {deleted} d where d.identifier = t.identifier)",
        replace="true",
        tests=("database/test_restored.py::test_records_come_back_under_their_keys",),
    ),
)
