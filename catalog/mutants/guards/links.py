"""Guards of the checks of links."""

from catalog.mutants.guard import Guard

WEB, CONCLUDE, OTHERS = "links/test_web.py", "links/test_conclude.py", "links/test_others.py"

GUARDS = (
    Guard(
        name="links-head-alone-is-not-gone",
        holds="A file is gone only if a GET says so, too.",
        row=36,
        file="catalog/links/web.py",
        find='            if found.outcome == "there" or found.reason in FINAL:\n',
        replace='            if found.outcome != "unclear" or found.reason in FINAL:\n',
        tests=(f"{WEB}::test_a_head_that_does_not_say_there_is_tried_by_a_get",),
    ),
    Guard(
        name="links-obey-robots-on-each-hop",
        holds="A redirect to a path that robots.txt forbids is not followed.",
        row=36,
        file="catalog/links/web.py",
        find="            if found := self._refusal(url):\n",
        replace="            if url == first and (found := self._refusal(url)):\n",
        tests=(f"{WEB}::test_robots_txt_is_obeyed_on_each_hop",),
    ),
    Guard(
        name="links-wait-as-long-as-the-host-asks",
        holds="A host is not asked before its Retry-After is over.",
        row=36,
        file="catalog/links/visits.py",
        find="        seconds = max(PAUSES[min(host.pauses, len(PAUSES) - 1)], found.wait or 0.0)\n",
        replace="        seconds = PAUSES[min(host.pauses, len(PAUSES) - 1)]\n",
        tests=("links/test_visits.py::test_retry_after_is_honoured_and_a_very_long_one_ends_the_host",),
    ),
    Guard(
        name="links-newer-answers-overrule",
        holds="A record is not removed by checks that are older than an answer of its file.",
        row=36,
        file="catalog/links/conclude.py",
        find="               and checked_on > coalesce(overruled.since, '-infinity')\n",
        replace="",
        tests=(
            f"{CONCLUDE}::test_an_answer_in_between_starts_over",
            f"{CONCLUDE}::test_concluding_an_old_run_again_acts_on_nothing_that_newer_checks_overrule",
        ),
    ),
    Guard(
        name="links-need-controls",
        holds="A file is not gone while no other records of its host are known to answer.",
        row=36,
        file="catalog/links/conclude.py",
        find=" and others >= %(least)s\n",
        replace="\n",
        tests=(f"{CONCLUDE}::test_without_controls_nothing_is_gone",),
    ),
    Guard(
        name="links-shared-targets-are-unclear",
        holds="A redirect that several records share does not count as an answer of their files.",
        row=36,
        file="catalog/links/conclude.py",
        find=" and other.url <> c.url)",
        replace=" and other.url <> c.url and false)",
        tests=(f"{CONCLUDE}::test_a_placeholder_brings_nothing_back",),
    ),
    Guard(
        name="links-plan-once",
        holds="A task that resumes checks the links that its first attempt has planned.",
        row=36,
        file="catalog/links/plan.py",
        find="        if not made:\n",
        replace="        if made is None:\n",
        tests=("links/test_plan.py::test_a_plan_is_made_once",),
    ),
    Guard(
        name="links-loads-keep-the-mark",
        holds="A load keeps the mark of a record whose file is gone.",
        row=36,
        file="catalog/loading/sql/update.sql",
        find="where {file_gone}),",
        replace="where false),",
        tests=(f"{OTHERS}::test_a_load_of_a_changed_record_keeps_the_mark",),
    ),
    Guard(
        name="links-loads-write-nothing-for-the-mark",
        holds="A record that is removed because its file is gone is not written again by each load.",
        row=36,
        file="catalog/loading/sql/classify.sql",
        find="old.removed_from_source and removal.identifier is null or",
        replace="old.removed_from_source or",
        tests=(f"{OTHERS}::test_a_load_of_the_same_record_keeps_the_mark_and_writes_nothing",),
    ),
)
