"""Which slices the form of `check_links` asks for, and what is refused, with the field and the way out."""

import pytest

from catalog.core.errors import Refused
from catalog.links.plan import slices


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ((0, 1, None, "flickr"), [(0, 0)]),
        ((0, 1, None, None), [(0, 0)]),
        ((3, 1, None, "flickr"), [(1, 3), (2, 3), (3, 3)]),
        ((3, 2, 2, "flickr"), [(2, 3)]),
    ],
)
def test_slices(asked, found):
    assert slices(*asked) == found


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ((3, 1, None, None), "slices: they need a provider; set it, too"),
        ((0, 2, None, "flickr"), "slices: first_slice and last_slice need slices; set it, too"),
        ((3, 3, 2, "flickr"), r"first_slice \(3\) is after last_slice \(2\)"),
        ((3, 1, 4, "flickr"), "slices: 1 to 4 are not among 1 to 3"),
        ((5000, 11, None, "flickr"), "at most 500; set last_slice to 510"),
    ],
)
def test_wrong_slices_are_refused(asked, message):
    with pytest.raises(Refused, match=message):
        slices(*asked)
