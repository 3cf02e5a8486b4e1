"""Art Institute of Chicago: what is kept is decided by fields that must be there; sizes of renditions."""

import pytest

from catalog.core.errors import UnexpectedResponse
from catalog.provider_api import Image, Skip
from catalog.providers.art_institute_of_chicago.provider import FIELDS, ArtInstituteOfChicago, check
from catalog.tests.providers.mapped import record_of

WORK = {"id": 7, "is_public_domain": True, "image_id": "abc", "iiif": "https://www.artic.edu/iiif/2"}


@pytest.mark.parametrize("field", ["is_public_domain", "image_id"])
def test_a_field_that_is_renamed_is_an_error_not_a_skip(field):
    assert field in FIELDS
    check({"data": [WORK, {**WORK, field: None}]})
    with pytest.raises(UnexpectedResponse, match=f"an artwork has no field `{field}`"):
        check({"data": [WORK, {key: value for key, value in WORK.items() if key != field}]})


@pytest.mark.parametrize("item", [None, True, 7, "text", []])
def test_an_item_that_is_no_object_costs_itself(item):
    check({"data": [WORK, item]})


@pytest.mark.parametrize("value", [False, None, "false", 1])
def test_only_a_work_that_is_said_to_be_in_the_public_domain_is_kept(value):
    found = record_of(Skip, ArtInstituteOfChicago().record({**WORK, "is_public_domain": value}))
    assert found.reason == "not in the public domain"


@pytest.mark.parametrize(
    ("original", "asked", "size"),
    [
        ({"width": 3000, "height": 2000}, 843, (843, 562)),
        ({"width": 600, "height": 450}, 600, (600, 450)),
        ({"width": 0, "height": 450}, 843, (None, None)),
        (None, 843, (None, None)),
    ],
)
def test_the_size_is_that_of_the_stored_rendition(original, asked, size):
    image = record_of(Image, ArtInstituteOfChicago().record({**WORK, "thumbnail": original}))
    assert image.url == f"https://www.artic.edu/iiif/2/abc/full/{asked},/0/default.jpg"
    assert (image.width, image.height) == size
