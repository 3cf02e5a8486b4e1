"""What the form of `check_links` tells."""

import pytest

pytestmark = pytest.mark.airflow


def test_the_form_says_how_many_records_a_margin_takes(dagbag):
    text = dagbag.dags["check_links"].params.get_param("margin").description
    assert "1: 9,604, 3: 1,068, 5: 385" in (text or dagbag.dags["check_links"].doc_md)
