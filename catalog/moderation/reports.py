"""Media that users of the API have reported and that no moderator has reviewed."""

from psycopg import sql

from catalog.core.media import MediaType
from catalog.core.session import Connection

_TABLES: dict[MediaType, str] = {"image": "nsfw_reports", "audio": "nsfw_reports_audio"}


def pending_reports(connection: Connection, media_type: MediaType) -> dict[str, int]:
    """Return the number of media with a pending report, by reason.

    A medium that was reported for two reasons counts for both. Older API databases have a column `status`; in
    newer ones a report without a decision is pending.

    Args:
        connection: Connection to the API database.
        media_type: Media type of the reports.
    """
    table = _TABLES[media_type]
    columns = (
        "select 1 from pg_attribute where attrelid = %s::regclass and attname = 'status' and not attisdropped"
    )
    has_status = connection.execute(columns, [table]).fetchone()
    pending = sql.SQL("status = 'pending_review'" if has_status else "decision_id is null")
    query = sql.SQL(
        "select reason, count(distinct identifier) from {} where {} group by 1 order by 1"
    ).format(sql.Identifier(table), pending)
    return dict(connection.execute(query).fetchall())
