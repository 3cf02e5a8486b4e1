"""What the report of the dataset says of an old version, and what the conf of a run accepts."""

from types import SimpleNamespace

import pytest

from catalog.core.errors import Refused
from catalog.database.refusals import Finding

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
    monkeypatch.setattr(module, "accepted_lines", list)
    module.report.function({**SUMMARY, "newest": newest}, [])
    assert said in sent[0][1]
    assert (sent[0][0] == "Dataset published") == (newest == 1)


def test_what_to_accept_losses_of_is_not_ignored():
    from catalog.dags import publish_dataset as module

    with pytest.raises(Refused, match="accept_only: "):
        module._judge({"accept_shrinkage": False, "accept_only": "image"})


@pytest.mark.database
def test_losses_of_one_media_type_are_accepted_without_those_of_the_other(catalog, dsn, monkeypatch):
    """Although both were reported; the message names a conf that accepts both."""
    from catalog.dags import publish_dataset as module
    from catalog.dags.common import acceptance

    monkeypatch.setenv("AIRFLOW_CONN_POSTGRES_OPENLEDGER_UPSTREAM", dsn)
    found = {
        f"dataset, {media_type}: records": [Finding("all", 90, 9, f"9 {media_type}")]
        for media_type in ("audio", "image")
    }

    def judged(run_id, **conf):
        params = {"accept_shrinkage": False, "accept_only": None} | conf
        run = SimpleNamespace(dag_id="publish_dataset", run_id=run_id, clear_number=0, conf=conf)
        for one in (module, acceptance):
            monkeypatch.setattr(one, "get_current_context", lambda: {"params": params, "dag_run": run})
        return module._judge(params)(found)

    assert [*judged("refused").refused] == ["9 audio", "9 image"]
    one = judged("one", accept_shrinkage=True, accept_only="audio")
    assert ([*one.accepted], [*one.refused]) == (["9 audio"], ["9 image"])
    assert 'with the conf {"accept_shrinkage": true, "accept_only": null}' in one.way_out
    both = judged("both", accept_shrinkage=True)
    assert ([*both.accepted], both.refused) == (["9 audio", "9 image"], [])
