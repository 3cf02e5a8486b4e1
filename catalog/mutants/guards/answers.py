"""Guards of responses of APIs: validation, totals, completeness."""

from catalog.mutants.guard import Guard

ANSWERS, READER, COMPLETENESS = (
    "catalog/ingestion/responses.py",
    "catalog/ingestion/json_reader.py",
    "catalog/ingestion/completeness.py",
)
TEST_READER = "ingestion/test_json_reader.py"

GUARDS = (
    Guard(
        name="missing-list",
        holds="A response without its list is an error, not an empty page.",
        row=7,
        file=ANSWERS,
        find="    if isinstance(value, list):\n        return value\n    there",
        replace="    if isinstance(value, list) or value is None:\n        return value or []\n    there",
        tests=(
            "ingestion/test_whole.py::test_an_answer_without_its_list_is_no_empty_page",
            "ingestion/test_pagination.py::test_what_an_answer_lacks_is_an_error",
        ),
    ),
    Guard(
        name="ambiguous-numbers",
        holds="A number that may be a fraction or thousands is not read.",
        row=15,
        file="catalog/core/numbers.py",
        find="    if mark in _DOUBTFUL and mark not in alone and not (match",
        replace="    if False and not (match",
        tests=("ingestion/test_values.py::test_what_is_no_size_or_may_be_two_is_returned_as_it_is",),
    ),
    Guard(
        name="reported-errors",
        holds="A 200 whose body reports an error counts as an error.",
        row=7,
        file="catalog/ingestion/response_errors.py",
        find="        if body.get(key):\n",
        replace="        if False:\n",
        tests=("ingestion/test_client.py::test_an_answer_that_says_it_failed",),
    ),
    Guard(
        name="no-success",
        holds="A 200 whose body reports no success counts as an error.",
        row=7,
        file="catalog/ingestion/response_errors.py",
        find='    if body.get("success") is False:\n',
        replace="    if False:\n",
        tests=("ingestion/test_client.py::test_an_answer_that_says_it_failed",),
    ),
    Guard(
        name="not-json-is-tried-again",
        holds="A web page instead of JSON is retried, then an error.",
        row=7,
        file="catalog/ingestion/http_response.py",
        find='            kind = self.headers.get("content-type", "no content type")\n',
        replace="            return {}\n            kind = str(error)\n",
        tests=(
            "ingestion/test_client.py::test_a_200_that_is_no_answer_is_tried_again_and_never_taken_for_an_empty_page",
        ),
    ),
    Guard(
        name="total-below-the-list",
        holds="A total that is smaller than the list in the same response is not believed.",
        row=7,
        file=ANSWERS,
        find="    if total < listed:\n",
        replace="    if False:\n",
        tests=("ingestion/test_pagination.py", "ingestion/test_whole.py"),
    ),
    Guard(
        name="nesting-without-end",
        holds="JSON that is nested too deeply is refused, and nothing crashes.",
        row=32,
        file=READER,
        find="    if _depth(text) > MAX_DEPTH:\n",
        replace="    if False:\n",
        tests=(f"{TEST_READER}::test_absurd_nesting",),
    ),
    Guard(
        name="odd-values-cost-themselves",
        holds="A body with one malformed value is repaired, and its page is read.",
        row=15,
        file=READER,
        find="    text = _TOKEN.sub(_repair, text.lstrip(",
        replace="    text = str(text.lstrip(",
        tests=(f"{TEST_READER}::test_what_is_repaired",),
    ),
    Guard(
        name="smaller-than-usual",
        holds="A load that is much smaller than the last whole one counts as incomplete.",
        row=12,
        file=COMPLETENESS,
        find="        if have < least * (1 - expected.max_shrinkage):\n",
        replace="        if False:\n",
        tests=(
            "ingestion/test_completeness.py::test_a_pull_is_held_against_the_last_whole_one",
            "loading/test_history.py::test_a_load_that_shrinks_is_loaded_and_not_whole",
        ),
    ),
    Guard(
        name="deleted-ones-have-come",
        holds="Records that were deleted from the catalog count as items that came and could be kept.",
        row=12,
        file=COMPLETENESS,
        find="        return cls(fetched - again, kept + left_alone, skipped, rejected, when)\n",
        replace="        return cls(fetched - again - left_alone, kept, skipped, rejected, when)\n",
        tests=(
            "ingestion/test_completeness.py::test_what_was_deleted_from_the_catalog_has_come_and_could_be_kept",
            "loading/test_load.py::test_a_pull_of_deleted_records_only_is_not_an_empty_one",
            "providers/test_inaturalist.py::test_a_cut_dump_is_noticed_although_the_last_load_kept_less",
        ),
    ),
    Guard(
        name="photos-of-several-observations",
        holds="A dump is compared with the last one by photos as a sample sees them.",
        row=12,
        file="catalog/providers/inaturalist/dump.py",
        find="kept + unseen, skipped",
        replace="kept, skipped",
        tests=("providers/test_inaturalist.py::test_a_cut_dump_is_noticed_although_the_last_load_kept_less",),
    ),
    Guard(
        name="more-rejects-than-usual",
        holds="A load with far more rejects than usual counts as incomplete.",
        row=13,
        file=COMPLETENESS,
        find="    if now.rejected >= NOTICEABLE and now.rejected / now.fetched > allowed:\n",
        replace="    if False:\n",
        tests=("ingestion/test_completeness.py::test_rejects_are_held_against_what_is_usual",),
    ),
    Guard(
        name="mostly-gone",
        holds="A pull most of whose items are reported missing counts as incomplete, even the first one.",
        row=36,
        file=COMPLETENESS,
        find="            allowed = max(0.5, 2 * usual) if not comparable else min(allowed, 1.0)\n",
        replace="            allowed = 1.0\n",
        tests=(
            "ingestion/test_completeness.py::test_what_is_gone_is_never_most_of_a_pull_not_even_the_first",
        ),
    ),
)
