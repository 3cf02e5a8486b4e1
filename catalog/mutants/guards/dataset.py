"""Guards of the published dataset."""

from catalog.mutants.guard import Guard

TESTS, VERSIONS, RELEASE = (
    "publishing/test_versions.py",
    "catalog/publishing/versions.py",
    "catalog/publishing/release.py",
)

GUARDS = (
    Guard(
        name="dataset-of-one-state",
        holds="Parts of another snapshot are not published.",
        row=1,
        file=VERSIONS,
        find="    others = [number for number, state, _ in rows if state is None or state != version.state]\n",
        replace="    others = [number for number, state, _ in rows if state is None]\n",
        tests=(f"{TESTS}::test_parts_of_two_states_are_not_published",),
    ),
    Guard(
        name="dataset-part-of-its-state",
        holds="A session whose snapshot was lost does not record a part for another one.",
        row=1,
        file=VERSIONS,
        find="             where number = %(version)s and state = %(state)s and stage = 'writing' for share\n",
        replace="             where number = %(version)s and stage = 'writing' for share\n",
        tests=(f"{TESTS}::test_a_part_of_another_state_is_not_recorded",),
    ),
    Guard(
        name="dataset-known-by-its-pointer",
        holds="A version whose pointer was written before a kill counts as published.",
        row=1,
        file=VERSIONS,
        find="    if mark is not None and mark.token == version.token:\n",
        replace="    if False:\n",
        tests=(f"{TESTS}::test_a_version_whose_pointer_was_written_is_published",),
    ),
    Guard(
        name="dataset-numbers-above-the-pointer",
        holds="After a restore of the database, a new version does not take the number of a published one.",
        row=1,
        file=VERSIONS,
        find="    known = [row[0] if row else 0, pointer.version if pointer else 0, *versions_in(root)]\n",
        replace="    known = [row[0] if row else 0]\n",
        tests=(f"{TESTS}::test_after_a_restore_nothing_that_is_published_is_touched",),
    ),
    Guard(
        name="dataset-deletes-only-ours",
        holds="A folder that is named like a version, but is not ours, stays.",
        row=1,
        file=RELEASE,
        find='        elif number < pointer.version and (stage == "published" or mark):\n',
        replace="        elif number < pointer.version:\n",
        tests=(f"{TESTS}::test_what_is_not_ours_stays",),
    ),
    Guard(
        name="dataset-terms-with-marks",
        holds="A combining mark belongs to a word, so a term does not match before one.",
        row=1,
        file="catalog/publishing/sensitive.py",
        find=' else rf"(?![\\w{_marks()}])"\n',
        replace=' else r"(?!\\w)"\n',
        tests=("publishing/test_export.py::test_sensitive_terms_are_whole_words",),
    ),
    Guard(
        name="dataset-terms-anywhere",
        holds="In scripts without spaces, a term matches within a longer run of letters.",
        row=1,
        file="catalog/publishing/sensitive.py",
        find="            if word and not _unbounded(term, word):\n",
        replace="            if word:\n",
        tests=("publishing/test_export.py::test_sensitive_terms_are_whole_words",),
    ),
)
