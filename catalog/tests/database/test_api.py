"""The API database: names of its objects, sample rows, and pending reports."""

import pytest

from catalog.database import sample_data
from catalog.moderation.reports import pending_reports
from catalog.notifications.alerts import pending_media

pytestmark = pytest.mark.database


def test_names_are_those_of_the_live_system(api):
    """Names are as in the live system: unique indexes of audio have a constraint, those of image do not."""
    indexes = {
        name
        for (name,) in api.execute(
            "select indexname from pg_indexes where tablename in ('image', 'audio', 'audioset')"
        )
    }
    assert len(indexes) == 14 + 15 + 8
    assert {
        "unique_provider_image",
        "image_url_c6aabda2_like",
        "audio_genres_e34cc474",
        "api_audioset_foreign_identifier_28c1db59_like",
    } <= indexes
    query = (
        "select conname from pg_constraint where conrelid = %s::regclass and contype in ('p', 'u') order by 1"
    )
    assert [n for (n,) in api.execute(query, ["image"])] == ["image_pkey"]
    assert [n for (n,) in api.execute(query, ["audio"])] == [
        "audio_identifier_key",
        "audio_pkey",
        "audio_url_key",
        "unique_provider_audio",
    ]


def test_sample_rows_are_the_same_everywhere(api, catalog):
    sample_data.fill(api, "api", 300)
    sample_data.fill(catalog, "catalog", 300)
    shared = (
        "select identifier, url, title, tags, meta_data, provider, width, height from image "
        "order by identifier"
    )
    assert api.execute(shared).fetchall() == catalog.execute(shared).fetchall()
    again = sample_data.fill(api, "api", 310)
    assert (again["image"], again["audio"], again["audioset"], again["nsfw_reports"]) == (10, 1, 0, 0)
    assert sample_data.fill(catalog, "catalog", 10, seed=2)["image"] == 10


def test_pending_reports(api):
    """A medium that is reported twice for one reason counts once; for two reasons, it counts for both."""
    api.execute("""
        insert into nsfw_reports (created_at, identifier, reason, status)
        select now(), md5(n::text)::uuid, reason, status from (values
            (1, 'mature', 'pending_review'), (1, 'mature', 'pending_review'), (1, 'dmca', 'pending_review'),
            (2, 'mature', 'pending_review'), (3, 'mature', 'no_action'), (4, 'other', 'deindexed')
        ) v (n, reason, status)
    """)
    assert pending_reports(api, "image") == {"dmca": 1, "mature": 2}
    assert pending_reports(api, "audio") == {}
    api.execute("alter table nsfw_reports drop column status")
    api.execute("insert into auth_user (username) values ('moderator')")
    api.execute(
        "insert into api_imagedecision (created_on, updated_on, moderator_id, action) "
        "values (now(), now(), 1, 'rejected_reports')"
    )
    api.execute("update nsfw_reports set decision_id = 1 where identifier = md5('2')::uuid")
    assert pending_reports(api, "image") == {"dmca": 1, "mature": 2, "other": 1}


def test_the_message():
    none = pending_media("d", "t", {"image": {}, "audio": {}}, "http://localhost:8000/admin")
    assert (none.username, none.alert, none.text) == (
        "Reported Media Check-In",
        False,
        "*Reported media*: No reported media wait for review. :tada:",
    )
    some = pending_media(
        "d",
        "t",
        {"image": {"other": 3, "dmca": 1000, "mature": 2}, "audio": {}},
        "http://localhost:8000/admin/",
    )
    assert some.alert
    assert some.username == "Reported Media Requires Review"
    assert some.text.splitlines()[1:] == [
        (
            "  - *<http://localhost:8000/admin/api/imagereport/?status__exact=pending_review|image: 1,005>* "
            "_(1,000 dmca, 2 mature, 3 other)_"
        )
    ]
