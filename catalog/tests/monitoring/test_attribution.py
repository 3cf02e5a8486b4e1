"""Attributions."""

import pytest

from catalog.core.licenses import PATH_BY_PAIR
from catalog.monitoring.attribution import attribution, license_name


def test_a_licensed_work():
    found = attribution(
        {
            "title": "Bridge",
            "creator": "Ada",
            "license": "by-sa",
            "license_version": "4.0",
            "foreign_landing_url": "https://example.org/1",
        }
    )
    assert found.text == (
        "“Bridge” by Ada is licensed under CC BY-SA 4.0. To view the terms, visit "
        "https://creativecommons.org/licenses/by-sa/4.0/. Source: https://example.org/1."
    )


def test_a_work_without_title_and_creator():
    found = attribution({"license": "cc0", "license_version": "1.0"})
    assert found.text.startswith("This work is marked with CC0 1.0.")


@pytest.mark.parametrize(
    ("slug", "version", "name"),
    [
        ("own", None, "an unknown license (own)"),
        ("by", "9.9", "an unknown license (by 9.9)"),
        ("CC-BY", "4.0", "an unknown license (cc-by 4.0)"),
        ("in-copyright", "", "an unknown license (in-copyright)"),
        ("", "4.0", "an unknown license"),
        (None, None, "an unknown license"),
        ("by", None, "CC BY"),
        ("BY-SA", "4.0", "CC BY-SA 4.0"),
    ],
)
def test_only_licenses_of_creative_commons_are_called_so(slug, version, name):
    found = attribution({"license": slug, "license_version": version, "title": "x"})
    assert found.license == name
    assert ("https://creativecommons.org/" in found.text) == (slug == "BY-SA")


@pytest.mark.parametrize("pair", PATH_BY_PAIR)
def test_every_license_has_a_deed_and_a_name(pair):
    slug, version = pair
    found = attribution({"license": slug, "license_version": version})
    assert found.license_url.startswith("https://creativecommons.org/")
    assert license_name(slug, version)
