"""The layout and contents of DAGs.md."""

import difflib

import pytest

from catalog.dag_docs.render import render
from catalog.dags.dag_factory import DagSpec

pytestmark = pytest.mark.airflow
TABLE = "**Configuration**\n\n| Key | Type |\n| --- | --- |\n| `date` | string |"


@pytest.fixture
def specs():
    long_sentence = "B has a docstring that is longer than eighty columns and so has to be wrapped."
    wordy = f"# Title\n\n{long_sentence}\n\n1. one\n2. two"
    return [
        DagSpec(
            "b_workflow",
            "provider",
            "@daily",
            f"# Title\n\n{wordy}\n\n1. one\n2. two",
            TABLE,
            "Example: `b`",
            True,
            ("image", "audio"),
        ),
        DagSpec("a_workflow", "provider", "@monthly", "A.", TABLE, "", False, ("image",)),
        DagSpec("delete_records", "database", None, "Keeps the _first_ and delete_records as it is."),
        DagSpec("silent", "data_refresh", None, ""),
    ]


@pytest.fixture
def text(specs):
    return render(specs)


def test_layout(text):
    lines = text.splitlines()
    assert lines[0] == "# DAGs"
    assert {"## DAGs by type", "## DAG documentation", "### `a_workflow`", "### Data Refresh"} <= set(lines)
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert "\n\n\n" not in text
    assert all(len(line) <= 80 or line.startswith("|") for line in lines)


def test_contents(text):
    by_type, documented = text.split("## DAG documentation")
    assert [line for line in by_type.splitlines() if line.startswith("1.  ")] == [
        "1.  [Data Refresh](#data-refresh)",
        "1.  [Database](#database)",
        "1.  [Provider](#provider)",
    ]
    assert [line for line in documented.splitlines() if line.startswith("1.  ")] == [
        f"1.  [`{d}`](#{d})" for d in ("a_workflow", "b_workflow", "delete_records")
    ]


def test_tables(text):
    lines = text.splitlines()
    at = lines.index("### Provider")
    assert lines[at + 2 : at + 6] == [
        "| DAG ID | Schedule Interval | Dated | Media Type(s) |",
        "| --- | --- | --- | --- |",
        "| [`a_workflow`](#a_workflow) | `@monthly` | `False` | image |",
        "| [`b_workflow`](#b_workflow) | `@daily` | `True` | image, audio |",
    ]
    assert "| `silent` | `None` |" in text


def test_dags_of_one_kind_share_a_table(text):
    assert text.count("| `date` | string |") == 1
    assert text.count("Configuration: [Keys of Provider DAGs](#keys-of-provider-dags).") == 2
    assert "### Keys of Provider DAGs\n\n| Key" in text


@pytest.mark.parametrize("dag_id", ["0_workflow", "a_workflow_with_a_name_longer_than_any", "z_workflow"])
def test_one_more_provider_only_adds_lines(specs, dag_id):
    more = DagSpec(dag_id, "provider", "@monthly", "What it offers.", TABLE, "", False, ("image",))
    before, after = render(specs).splitlines(), render([*specs, more]).splitlines()
    changed = [line for line in difflib.ndiff(before, after) if line[0] in "+-"]
    assert [line for line in changed if line[0] == "-"] == []
    assert len(changed) <= 8


def test_markup_survives(text):
    assert "#### Title" in text
    assert "_first_ and delete_records" in text
