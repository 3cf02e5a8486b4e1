"""Guards of the data refresh: copy and exchange of the API's tables."""

from catalog.mutants.guard import Guard

COPY, EXCHANGE, PROMOTION, PROGRESS, SHAPE, CATCH_UP = (
    "catalog/data_refresh/copy.py",
    "catalog/data_refresh/exchange.py",
    "catalog/data_refresh/promotion.py",
    "catalog/data_refresh/progress.py",
    "catalog/data_refresh/shape.py",
    "catalog/data_refresh/catch_up.py",
)
TEST = "data_refresh/test_copy.py"

GUARDS = (
    Guard(
        name="copy-notes-its-place",
        holds="The position of a copy is stored with each range, so a copy resumes there.",
        row=20,
        file=COPY,
        find=(
            "            if copied.done:\n                self._complete(copied)\n"
            "            progress.note(self._api, copied)\n"
        ),
        replace="            if copied.done:\n                self._complete(copied)\n",
        tests=(f"{TEST}::test_a_copy_goes_on_where_it_was_stopped",),
    ),
    Guard(
        name="copy-of-this-run",
        holds="A copy of another run is not mistaken for this run's.",
        row=28,
        file=COPY,
        find="            and state.run_id == self._run_id\n",
        replace="",
        tests=(f"{TEST}::test_a_copy_goes_on_where_it_was_stopped",),
    ),
    Guard(
        name="one-copy-at-a-time",
        holds="Two sessions do not work on one copy at the same time.",
        row=28,
        file=PROGRESS,
        find='    while not api.execute(free, [f"copy {table}"]).fetchone():\n',
        replace='    while not api.execute(free, [f"copy {table}"]):\n',
        tests=("data_refresh/test_promotion.py::test_a_second_session_does_not_work_on_a_copy",),
    ),
    Guard(
        name="moderated-stay-out",
        holds="Media that moderators have deleted are not restored by a refresh.",
        row=35,
        file="catalog/data_refresh/merge.py",
        find="            if key in deleted:\n",
        replace="            if False:\n",
        tests=(f"{TEST}::test_moderated_and_too_wide_rows_stay_out",),
    ),
    Guard(
        name="moderated-meanwhile",
        holds="Media that moderators delete during a refresh are not restored by the exchange.",
        row=35,
        file=CATCH_UP,
        find='"delete from {temp} t using {deleted} d where t.identifier = d.identifier"',
        replace='"delete from {temp} t using {deleted} d where t.identifier = d.identifier and false"',
        tests=(f"{TEST}::test_moderation_and_views_during_a_refresh",),
    ),
    Guard(
        name="views-inside-the-lock",
        holds="Views that are counted until the exchange are carried over.",
        row=21,
        file=PROMOTION,
        find="        carried = {table: catch_up(api, table) for table in tables}\n",
        replace="        carried = dict.fromkeys(tables, 0)\n",
        tests=(
            "data_refresh/test_promotion.py::test_views_that_are_counted_until_the_lock_are_carried_over",
        ),
    ),
    Guard(
        name="views-of-open-transactions",
        holds="Views counted by a transaction that was open when the copy began are carried over.",
        row=21,
        file=PROGRESS,
        find="default pg_snapshot_xmin(pg_current_snapshot()),",
        replace="default pg_snapshot_xmax(pg_current_snapshot()),",
        tests=("data_refresh/test_promotion.py::test_views_of_a_transaction_that_was_open_before_the_copy",),
    ),
    Guard(
        name="exchange-waits-shortly",
        holds="An exchange waits only seconds for its lock, so readers do not queue behind it.",
        row=22,
        file=PROMOTION,
        find=(
            '    api.execute("select set_config(\'lock_timeout\', %s, true)", [f"{max(1, '
            'int(seconds * 1000))}ms"])\n'
        ),
        replace="",
        tests=(f"{TEST}::test_a_table_that_somebody_holds",),
    ),
    Guard(
        name="exchange-of-this-run",
        holds="A copy of another run is not exchanged.",
        row=27,
        file=PROMOTION,
        find="    if state.run_id != run_id:\n        raise",
        replace="    if False:\n        raise",
        tests=(f"{TEST}::test_a_copy_goes_on_where_it_was_stopped",),
    ),
    Guard(
        name="exchange-of-a-whole-copy",
        holds="A copy that is not complete is not exchanged.",
        row=27,
        file=PROMOTION,
        find="    if not state.copied.done:\n",
        replace="    if False:\n",
        tests=("data_refresh/test_promotion.py::test_a_copy_that_is_not_complete_is_not_exchanged",),
    ),
    Guard(
        name="exchange-once",
        holds="A second exchange of a run changes nothing.",
        row=27,
        file=PROMOTION,
        find="    if not progress.exists(api, temp_name(table)):\n        return None\n",
        replace="",
        tests=(f"{TEST}::test_a_repeated_promotion_changes_nothing",),
    ),
    Guard(
        name="migration-during-a-refresh",
        holds="A migration of the API's table during a refresh is not undone.",
        row=37,
        file=SHAPE,
        find='            found += [f"{table}: {difference}" for difference in differences(before, now)]\n',
        replace="",
        tests=("data_refresh/test_promotion.py::test_a_migration_between_the_copy_and_the_exchange_is_kept",),
    ),
    Guard(
        name="shape-after-the-exchange",
        holds="An exchange that would lose something attached to a table is rolled back.",
        row=37,
        file=EXCHANGE,
        find="    if different := differences(now, shape(api, table)):\n",
        replace="    if different := []:\n",
        tests=(
            "data_refresh/test_promotion.py::test_an_exchange_that_would_lose_an_attached_object_is_rolled_back",
        ),
    ),
    Guard(
        name="orphans",
        holds="Rows of lists whose medium is missing are deleted and counted; all others are kept.",
        row=27,
        file=EXCHANGE,
        find='    orphans = {key["name"]: _orphans(api, key, parts) for key in references}\n',
        replace='    orphans = dict.fromkeys((key["name"] for key in references), 0)\n',
        tests=(f"{TEST}::test_orphans_are_deleted_and_counted",),
    ),
)
