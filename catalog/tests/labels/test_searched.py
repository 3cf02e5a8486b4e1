"""Labels on their way to searches: an incremental refresh finds them, and the tag policy judges them."""

import pytest
from upath import UPath

from catalog.data_refresh.search.documents import document
from catalog.data_refresh.search.tag_policy import DEFAULT, TagFilter, TagPolicy
from catalog.labels.merge import merge
from catalog.labels.run import LabelRun
from catalog.labels.staging import stage
from catalog.tests.data_refresh.test_documents import BASE
from catalog.tests.data_refresh.test_exchange import api_dsn, filled, pair  # noqa: F401 - fixtures
from catalog.tests.data_refresh.test_incremental import changed, image  # noqa: F401 - a fixture
from catalog.tests.labels.test_lines import line

pytestmark = pytest.mark.database


def searched(tags, policy):
    """Return the names that a document has, of those with an accuracy."""
    found = document("image", BASE._replace(tags=tags), TagFilter(policy))["tags"]
    return [tag["name"] for tag in found if "accuracy" in tag]


def test_a_refresh_brings_labels_to_the_api_and_searches_find_the_accurate_ones(image, tmp_path):  # noqa: F811
    key = image.catalog.execute("select identifier from image order by identifier limit 1").fetchone()[0]
    image.catalog.execute("update image set tags = '[]' where identifier = %s", [key])
    changed(image)
    path = tmp_path / "labels.jsonl"
    path.write_bytes(line(("Dog", 97.3), ("Pet", 90), ("Wolf", 89.9), key=key))
    labels = LabelRun(image.catalog, "run", "file", "rekognition", 0)
    stage(labels, UPath(path))
    assert merge(labels).changed == 1
    labels.drop()
    assert changed(image).updated == 1
    tags = image.api.execute("select tags from image where identifier = %s", [key]).fetchone()[0]
    assert [tag["accuracy"] for tag in tags] == [0.973, 0.9, 0.899]
    assert searched(tags, DEFAULT) == ["Dog", "Pet"]
    assert searched(tags, TagPolicy(minimum_accuracy=0.95)) == ["Dog"]
    assert searched(tags, TagPolicy(excluded_providers=("rekognition",))) == []
