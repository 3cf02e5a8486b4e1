"""Guards of the search engine's upkeep."""

from catalog.mutants.guard import Guard

CHANGED = "data_refresh/test_changed_documents.py"
GUARDS = (
    Guard(
        name="reported-before-remembered",
        holds="A change of the engine's state that could not be reported is not remembered as reported.",
        row=54,
        file="catalog/dags/elasticsearch_cluster_healthcheck.py",
        find="        if unsent and unsent.temporary:\n",
        replace="        if unsent and False:\n",
        tests=("dags/test_healthcheck.py::test_a_change_that_could_not_be_reported_is_reported_later",),
    ),
    Guard(
        name="unread-is-not-well",
        holds="A part of the engine's state that cannot be read does not count as well.",
        row=55,
        file="catalog/monitoring/cluster.py",
        find='        return [Problem(f"unread {part}", f"{part} could not be read: {why}", runbook="unknown")]\n',
        replace="        return [] if why else []\n",
        tests=("monitoring/test_cluster.py::test_a_part_that_cannot_be_read_is_not_well",),
    ),
    Guard(
        name="sensitive-media-behind-a-filtered-alias",
        holds="No alias of a filtered index is pointed at an index with sensitive media.",
        row=26,
        file="catalog/data_refresh/search/pointing.py",
        find="    if is_filtered(alias) and not is_filtered(identity.name):\n",
        replace="    if False:\n",
        tests=("data_refresh/test_pointing.py::test_an_index_that_is_refused",),
    ),
    Guard(
        name="index-that-was-never-whole",
        holds="No alias is pointed at an index that was never completed, or whose tables are not live.",
        row=26,
        file="catalog/data_refresh/refresh_history.py",
        find="bool_or(stage <> 'working' and made ->> 'documents' is not null)",
        replace="bool_or(true)",
        tests=(
            "data_refresh/test_pointing.py::test_an_index_is_whole_when_it_was_counted_and_its_tables_are_live",
        ),
    ),
    Guard(
        name="origin-of-a-filtered-index",
        holds="A filtered index is only made from an index that was found to be whole.",
        row=26,
        file="catalog/dags/create_filtered_index.py",
        find="    require_whole(PRODUCTION, media_type, origin, field=ORIGIN)\n",
        replace="",
        tests=("dags/test_rewritten_index.py::test_no_filtered_index_is_made_from_it",),
    ),
    Guard(
        name="index-made-after-the-opening",
        holds="No index becomes live without its replicas, and without showing what is written to it.",
        row=26,
        file="catalog/data_refresh/search/refresh_indexes.py",
        find="            if self.engine.is_filling(name):\n",
        replace="            if False:\n",
        tests=(f"{CHANGED}::test_an_index_that_was_made_after_the_others_were_opened",),
    ),
    Guard(
        name="text-that-a-mark-loses",
        holds="No filtered index is made of documents that lose their sensitive text when they are marked.",
        row=57,
        file="catalog/data_refresh/search/filtered.py",
        find="    if TEXT in engine.unkept(origin):\n",
        replace="    if False:\n",
        tests=("data_refresh/test_filtered.py::test_an_index_of_an_earlier_release_is_refused",),
    ),
    Guard(
        name="aliases-of-readers",
        holds="An engine whose aliases lead nowhere is not well.",
        row=55,
        file="catalog/monitoring/cluster.py",
        find='        problems += _read("aliases", lambda: _of_aliases(found(), promoted()))\n',
        replace="",
        tests=("monitoring/test_cluster.py::test_an_alias_that_leads_nowhere",),
    ),
    Guard(
        name="index-from-before-a-restore",
        holds="A restore of staging's database makes nobody another program that has written to an index.",
        row=26,
        file="catalog/dags/groups/index_checks.py",
        find="        if where is not PRODUCTION and _rows_are_others(api, media_type, identity.uuid):\n",
        replace="        if False:\n",
        tests=(
            "dags/test_rewritten_index.py::test_a_restore_of_the_database_of_staging_makes_nobody_another_program",
        ),
    ),
    Guard(
        name="warnings-outlive-a-clear",
        holds="What is to be said of a new alias is reported by the attempt that finds it moved.",
        row=44,
        file="catalog/dags/point_es_alias.py",
        find="            refresh = replan(refresh, msgspec.structs.replace(refresh.plan, notes=notes))\n",
        replace="            assert notes\n",
        tests=(
            "dags/test_point_alias.py::test_a_warning_is_reported_although_the_task_is_killed_after_the_alias_has_moved",
        ),
    ),
)
