"""Guards of the cleaning of rows that other programs wrote."""

from catalog.mutants.guard import Guard

TEST_JOB, TEST_RULES = "cleaning/test_job.py", "cleaning/test_rules.py"

GUARDS = (
    Guard(
        name="cleaning-writes-over-no-newer-value",
        holds="A value that was computed from an older version of a row is not written.",
        row=37,
        file="catalog/database/sql/update_computed.sql",
        find=" and {table}.ctid = new_place\n",
        replace="\n",
        tests=(f"{TEST_JOB}::test_a_row_that_changes_while_its_value_is_computed_keeps_the_change",),
    ),
    Guard(
        name="cleaning-gives-a-url-once",
        holds="Two records that would get the same URL do not both get it.",
        row=37,
        file="catalog/cleaning/survey.py",
        find="        if url in taken or hash(url) in claimed:\n",
        replace="        if url in taken:\n",
        tests=(f"{TEST_JOB}::test_no_two_records_get_one_url",),
    ),
    Guard(
        name="cleaning-decodes-once",
        holds="A text that would change when it is cleaned again stays.",
        row=37,
        file="catalog/cleaning/rule.py",
        find="            for column in self.clean(after).changes:\n",
        replace="            for column in ():\n",
        tests=(f"{TEST_RULES}::test_a_text_that_was_escaped_twice_stays",),
    ),
    Guard(
        name="cleaning-takes-no-word-for-a-character",
        holds="A word and a number, or a word, beside characters that have lost their backslashes stays.",
        row=37,
        file="catalog/cleaning/texts.py",
        find="    if before.isalpha() and (is_number or first.isalpha()):\n",
        replace="    if False:\n",
        tests=(f"{TEST_RULES}::test_escapes_that_have_lost_their_backslashes",),
    ),
    Guard(
        name="cleaning-writes-what-can-be-stored",
        holds="A value with characters that PostgreSQL refuses stays, and does not fail the whole rule.",
        row=37,
        file="catalog/cleaning/rule.py",
        find="        for column in [name for name, value in cleaned.changes.items() if not _is_storable(value)]:\n",
        replace="        for column in list[str]():\n",
        tests=(f"{TEST_RULES}::test_a_value_that_cannot_be_cleaned_is_counted_and_kept",),
    ),
    Guard(
        name="cleaning-loses-no-key",
        holds="Keys of nested metadata that become equal stay as they are.",
        row=37,
        file="catalog/cleaning/meta_data.py",
        find="    if len(list(keys_in(value))) < len(list(keys_in(own))) or",
        replace="    if",
        tests=(f"{TEST_RULES}::test_a_value_that_cannot_be_cleaned_is_counted_and_kept",),
    ),
    Guard(
        name="cleaning-counts-a-row-once",
        holds="The total of a dry run counts a row once in which several rules find something.",
        row=37,
        file="catalog/cleaning/survey.py",
        find="                    if cleaned.changes and counts_before(row):\n",
        replace="                    if False:\n",
        tests=(f"{TEST_JOB}::test_a_row_counts_once_for_several_rules",),
    ),
)
