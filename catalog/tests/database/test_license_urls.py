"""The update that adds `license_url`, on rows with any JSON type in `meta_data`."""

import pytest

from catalog.database.license_urls import groups
from catalog.database.statements import verify

pytestmark = pytest.mark.database
URL = {"license_url": "https://creativecommons.org/licenses/by/4.0/"}
INSERT = """
    insert into image (created_on, updated_on, removed_from_source, license, license_version,
                       url, provider, meta_data)
    values (now(), now(), false, 'BY', '4.0', 'u', 'p', %s::jsonb)
"""


@pytest.mark.parametrize(
    ("stored", "result"),
    [
        (None, URL),
        ("null", URL),
        ("{}", URL),
        ("[]", URL),
        ('{"a": 1, "b": null}', {"a": 1, "b": None, **URL}),
        ('[null, {"a": 1}, {"a": 2, "b": 3}]', {"a": 2, "b": 3, **URL}),
        ('{"license_url": null}', URL),
        ('{"license_url": ""}', URL),
        ('{"license_url": 7, "a": 1}', {"a": 1, **URL}),
        ('{"license_url": ["https://creativecommons.org/licenses/by/4.0/"]}', URL),
        ('"text"', "text"),
        ("7", 7),
        ("true", True),
        ('["text", {"a": 1}]', ["text", {"a": 1}]),
        ('[[{"a": 1}]]', [[{"a": 1}]]),
    ],
)
def test_nothing_is_lost(catalog, stored, result):
    catalog.execute(INSERT, [stored])
    [group] = groups(catalog)
    assert (group.rows, group.left) == (
        1,
        0 if URL.items() <= (result.items() if isinstance(result, dict) else set()) else 1,
    )
    update = group.update()
    verify(catalog, update)
    catalog.execute(update.text)
    assert catalog.execute("select meta_data from image").fetchone() == (result,)


def test_a_license_url_that_is_there_is_not_missing(catalog):
    catalog.execute(INSERT, ['{"license_url": "https://example.org/of-their-own"}'])
    assert groups(catalog) == []
