"""What the report of the dataset says of an old version, and a conf that contradicts itself."""

import pytest

from catalog.core.errors import Refused

pytestmark = pytest.mark.airflow
SUMMARY = {
    "version": 1, "newest": 1, "rows": {"image": 5}, "before": {}, "files": 1, "bytes": 900, "changes": {}
}  # fmt: skip


@pytest.mark.parametrize(
    ("newest", "said"),
    [(1, "Version 1: 5 records in 1 files"), (4, "Version 1 was published before; 4 is the newest.")],
)
def test_an_old_version_is_not_announced_again(newest, said, monkeypatch):
    from catalog.dags import publish_dataset as module

    sent = []
    monkeypatch.setattr(module, "notify", lambda title, sender, text, **more: sent.append((title, text)))
    module.report.function({**SUMMARY, "newest": newest}, [])
    assert said in sent[0][1]
    assert (sent[0][0] == "Dataset published") == (newest == 1)


def test_what_to_accept_losses_of_is_not_ignored():
    from catalog.dags import publish_dataset as module

    with pytest.raises(Refused, match="accept_only: "):
        module._guarded({"accept_shrinkage": False, "accept_only": "image"})
    assert module._guarded({"accept_shrinkage": True, "accept_only": "image"}) == ["audio"]
