"""The queries of docs/dataset.md, as they are there, and what other tools read."""

import re
from typing import Any

import duckdb
import mlcroissant
import pandas as pd
import pytest

from catalog.database import sample_data
from catalog.local.stack import ROOT
from catalog.tests.publishing.publisher import table
from catalog.tests.values import present

pytestmark = [pytest.mark.database, pytest.mark.filterwarnings("ignore::DeprecationWarning")]
PAGE = (ROOT / "docs" / "dataset.md").read_text(encoding="utf-8")
QUERIES = re.findall(r"^```(sql|python)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def version(catalog, publisher, monkeypatch):
    """The folder of a version is the current one."""
    sample_data.fill(catalog, "catalog", 1000, seed=5)
    catalog.execute("""update image set tags = '[{"name": "made up"}]' where title like '%e%'""")
    publisher.run()
    monkeypatch.chdir(publisher.root.path + "/v1")
    return publisher


def run(kind, text):
    if kind == "sql":
        return present(duckdb.sql(text)).fetchall()
    names: dict[str, Any] = {}
    exec(text, names)
    return names["result"]


def test_the_queries_of_the_page(catalog, version):
    assert [kind for kind, _ in QUERIES] == ["sql", "sql", "sql", "python", "python"]
    found = [run(*query) for query in QUERIES]
    wanted = catalog.execute(
        "select source, license, license_version, count(*) from image where not removed_from_source"
        " group by 1, 2, 3"
    ).fetchall()
    assert sorted(found[0]) == sorted(wanted)
    made_up = """select count(*) from image where tags = '[{"name": "made up"}]'"""
    (tagged,) = catalog.execute(made_up).fetchone()
    assert len(found[1]) == min(10, tagged) > 0
    assert len(found[2]) == 10
    assert all("creativecommons.org" in (row[3] or "creativecommons.org") for row in found[2])
    flickr = [row for row in table(catalog).values() if row["provider"] == "flickr"]
    assert found[3].sum() == len(flickr) > 0
    assert len(found[4]) == 10
    assert {"image/identifier", "image/tags"} < found[4][0].keys()


def test_croissant_is_valid_and_reads_all_records(catalog, version):
    dataset = mlcroissant.Dataset("croissant.json")
    assert not dataset.metadata.issues.errors
    for media_type in ("image", "audio"):
        read = {record[f"{media_type}/identifier"].decode() for record in dataset.records(media_type)}
        assert read == table(catalog, media_type).keys()


def test_pandas_reads_nested_tags(catalog, version):
    tags = pd.read_parquet("image", columns=["tags"])["tags"]
    assert tags.map(lambda value: value is not None and len(value) > 0).any()
