"""Controls: records that tell whether a file is gone, or its host or provider fails."""

from collections import defaultdict

from psycopg import sql

from catalog.core.queries import value
from catalog.core.session import Connection
from catalog.ingestion.addresses import host_of
from catalog.links.answers import BUSY, PAUSED
from catalog.links.plan import Row, Survey, add_checks, after_random_hash

CONTROLS = 6  # records of a host that are enough to judge it
SEARCHED = 20_000  # records of a provider among which controls are looked for
ASKED_AGAIN = 3  # records of a host that were there
KNOWN = 40  # earlier answers of a host among which controls are chosen


def add_controls(connection: Connection, survey: Survey) -> int:
    """Plan controls, once for a survey: other records of hosts that have said that files are gone.

    Records that the host has answered for come first; where there are too few, any are taken whose URL has
    the same host. Hosts of which the survey has checked enough random records need none.

    Returns:
        The number of controls that were added; 0 when they were added before.
    """
    with connection.transaction():
        return _add_controls(connection, survey)


def _add_controls(connection: Connection, survey: Survey) -> int:
    planned = sql.SQL("select exists (select from link_check where purpose = 'control' and {of_survey})")
    if value(connection, planned.format(**survey.names), survey.key):
        return 0
    query = sql.SQL("""
        select host, %(enough)s - count(*) filter (where purpose <> 'again' and outcome <> 'gone'),
               (array_agg(url) filter (where outcome = 'gone' and not judged))[:%(looked_at)s]
          from link_check where {of_survey}
         group by host
        having bool_or(outcome = 'gone' and not judged)
           and not coalesce(bool_or(reason = any(%(busy)s)), false) -- such a host does not want more requests
           and count(*) filter (where purpose <> 'again') <= %(enough)s
    """).format(**survey.names)
    values = {**survey.key, "enough": CONTROLS, "busy": [BUSY, PAUSED], "looked_at": KNOWN}
    added, wanted, led_by = 0, dict[str, int](), defaultdict[str, set[str]](set)
    for host, number, urls in connection.execute(query, values).fetchall():
        rows = _answered(connection, survey, host)[: max(number, 1)]
        added += (found := add_checks(connection, survey, "control", rows))
        if number > found:
            wanted[host] = number - found
            for name in {host, *map(host_of, urls)}:  # of a redirect, the URL has another host
                led_by[name].add(host)
    if wanted:
        rows_of = defaultdict[str, list[Row]](list)
        for row in after_random_hash(connection, survey, f"controls {survey.run_id} {survey}", SEARCHED):
            for host in led_by.get(host_of(row[1]), ()):
                rows_of[host].append(row)
        for host, rows in rows_of.items():
            added += _add_some(connection, survey, rows, wanted[host])
    return added


def to_ask_again(connection: Connection, survey: Survey) -> list[tuple[int, str, str]]:
    """Return links that were there first, a few of each host that has said that others are gone.

    A host may answer 404 to a client that has asked for much; then it does so for these, too.

    Returns:
        Of each link, the number of its check, its URL, and the host that has answered.
    """
    query = sql.SQL("""
        select number, url, host
          from (
            select number, url, host, outcome,
                   row_number() over (partition by host, outcome order by checked_on) as place,
                   bool_or(outcome = 'gone' and not judged) over (partition by host) as doubtful,
                   bool_or(reason = any(%(busy)s)) over (partition by host) as busy
              from link_check where {of_survey}
          ) asked
         where outcome = 'there' and place <= %(most)s and doubtful and busy is not true
    """).format(**survey.names)
    values = {**survey.key, "busy": [BUSY, PAUSED], "most": ASKED_AGAIN}
    return connection.execute(query, values).fetchall()


def _add_some(connection: Connection, survey: Survey, rows: list[Row], most: int) -> int:
    """Plan controls from a list until there are enough; some may be planned in this run already."""
    added = 0
    for row in rows:
        if added == most:
            break
        added += add_checks(connection, survey, "control", [row])
    return added


def _answered(connection: Connection, survey: Survey, host: str) -> list[Row]:
    """Return records of the provider and host that have answered before, and that this run does not check."""
    query = sql.SQL("""
        select distinct m.identifier, m.url, m.filesize
          from (
            select identifier, url from link_check
             where provider = %(provider)s and media_type = %(media)s and host = %(host)s
               and outcome = 'there' and run_id <> %(run_id)s
             order by checked_on desc limit %(known)s
          ) known
          join {table} m on m.identifier = known.identifier and m.url = known.url
         where m.provider = %(provider)s and not m.removed_from_source
           and not exists (select from link_check c where c.run_id = %(run_id)s
                              and c.media_type = %(media)s and c.identifier = m.identifier)
    """).format(**survey.names)
    return connection.execute(query, {**survey.key, "host": host, "known": KNOWN}).fetchall()
