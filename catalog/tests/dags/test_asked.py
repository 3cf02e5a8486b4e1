"""The keys by which monitoring tells what a run was asked for are those of the DAGs' forms."""

import re

import pytest

from catalog.monitoring import asked

pytestmark = pytest.mark.airflow


def defaults(spec):
    """Return key → default of the form of a DAG."""
    return dict(re.findall(r"^\| `(\w+)` \| [^|]* \| (.*?) \|", spec.configuration, re.MULTILINE))


def test_subjects_are_keys_of_the_forms(registry):
    unknown = {dag_id: set(keys) - set(defaults(registry[dag_id])) for dag_id, keys in asked.SUBJECTS.items()}
    assert not any(unknown.values()), unknown


def test_trials_by_default(registry):
    dry = {dag_id for dag_id, spec in registry.items() if defaults(spec).get("dry_run") == "`true`"}
    assert dry == asked._DRY_BY_DEFAULT


def test_every_key_is_one_of_a_form(registry):
    known = {key for spec in registry.values() for key in defaults(spec)}
    assert {*asked._TRIALS, *asked._LESS, *asked._MORE, "mark", "enableDelete"} <= known


def test_defaults_are_those_of_the_forms(registry):
    for (dag_id, key), value in asked._DEFAULTS.items():
        shown = re.findall(r"[\w-]+", defaults(registry[dag_id])[key])
        assert sorted(shown) == sorted(re.findall(r"[\w-]+", value)), (dag_id, key)


def test_days_are_covered_by_the_dags_that_say_so(registry):
    assert asked.dated_dags() == {dag_id for dag_id, spec in registry.items() if spec.dated}
