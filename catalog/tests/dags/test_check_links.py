"""What the form of `check_links` lets through and its first task refuses, with the field and the way out."""

import pytest

pytestmark = pytest.mark.airflow
GIVEN = {"provider": "flickr", "slices": 0, "first_slice": 1, "last_slice": None}


@pytest.mark.parametrize(
    ("conf", "slices"),
    [
        ({}, [(0, 0)]),
        ({"provider": None}, [(0, 0)]),
        ({"slices": 3}, [(1, 3), (2, 3), (3, 3)]),
        ({"slices": 3, "first_slice": 2, "last_slice": 2}, [(2, 3)]),
    ],
)
def test_slices(dagbag, conf, slices):
    from catalog.dags.check_links import _slices

    assert _slices({**GIVEN, **conf}) == slices


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"provider": None, "slices": 3}, "conf: slices needs a provider; set it, too"),
        ({"first_slice": 2}, "conf: first_slice and last_slice need slices; set it, too"),
        ({"slices": 3, "first_slice": 3, "last_slice": 2}, r"first_slice \(3\) is after last_slice \(2\)"),
        ({"slices": 3, "last_slice": 4}, "conf: the slices 1 to 4 are not among 1 to 3"),
        ({"slices": 5000, "first_slice": 11}, "at most 500 slices; set last_slice to 510"),
    ],
)
def test_wrong_slices_are_refused(dagbag, conf, message):
    from airflow.sdk.exceptions import AirflowFailException

    from catalog.dags.check_links import _slices

    with pytest.raises(AirflowFailException, match=message):
        _slices({**GIVEN, **conf})


def test_the_form_says_how_many_records_a_margin_takes(dagbag):
    text = dagbag.dags["check_links"].params.get_param("margin").description
    assert "1: 9,604, 3: 1,068, 5: 385" in (text or dagbag.dags["check_links"].doc_md)
