"""Made-up records and checks of them, without requests."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from catalog.core.session import Connection
from catalog.links.conclude import conclude
from catalog.links.judging import Concluded
from catalog.links.plan import Survey
from catalog.tests.database.media import fill
from catalog.tests.links.site import BEGIN

HOST = "example.org"


def day(number: float) -> datetime:
    return BEGIN + timedelta(days=number)


class Checks:
    """Images of the provider `made_up`, numbered from 1, and what runs found of them."""

    def __init__(
        self, catalog: Connection, rows: int = 40, providers: tuple[str, ...] = ("made_up",)
    ) -> None:
        self.catalog = catalog
        fill(catalog, rows, providers)

    def record(self, number: int, provider: str = "made_up") -> tuple[UUID, str, bool, datetime]:
        """Return identifier, URL, mark and updated_on of an image."""
        row = self.catalog.execute(
            "select identifier, url, removed_from_source, updated_on from image"
            " where foreign_identifier = %s",
            [f"{provider}{number}"],
        ).fetchone()
        assert row
        return (row[0], row[1], row[2], row[3])

    def marked(self) -> set[str]:
        query = "select foreign_identifier from image where removed_from_source"
        return {key for (key,) in self.catalog.execute(query)}

    def survey(self, run_id: str, provider: str = "made_up") -> Survey:
        return Survey(run_id, "image", provider)

    def found(
        self,
        run_id: str,
        when: float,
        *,
        there: int = 10,
        provider: str = "made_up",
        host: str = HOST,
        mark: bool = True,
        failing: float = 0.5,
        most_removed: float = 0.1,
        accept: bool = False,
        outcomes: dict[int, str] | None = None,
        purpose: str = "again",
        **values: str,
    ) -> Concluded:
        """Write what a run found, and conclude it.

        Args:
            run_id: The run.
            when: Day of the checks.
            there: Controls that answer, from image 21 on.
            provider: Name of the provider.
            host: Host of all.
            mark: See `conclude`.
            failing: See `conclude`.
            most_removed: See `conclude`.
            accept: See `conclude`.
            outcomes: Number of an image → its outcome; image 1 is gone by default.
            purpose: Of these checks.
            **values: Other columns of these checks.
        """
        survey = self.survey(run_id, provider)
        self.catalog.execute(
            "insert into link_survey (run_id, media_type, provider, slice, slices, planned_on)"
            " values (%s, 'image', %s, 0, 0, %s) on conflict do nothing",
            [run_id, provider, day(when)],
        )
        for number, outcome in (outcomes or {1: "gone"}).items():
            self.write(survey, number, day(when), host, outcome, purpose, **values)
        for number in range(21, 21 + there):
            self.write(survey, number, day(when), host, "there", "control")
        options: dict[str, Any] = {"failing": failing, "most_removed": most_removed, "accept": accept}
        return self.conclude(run_id, when, provider=provider, mark=mark, **options)

    def conclude(self, run_id: str, when: float, *, provider: str = "made_up", **options: Any) -> Concluded:
        """Conclude a run an hour after its checks."""
        survey, now = self.survey(run_id, provider), day(when) + timedelta(hours=1)
        return conclude(self.catalog, survey, now=lambda: now, **options)

    def write(
        self,
        survey: Survey,
        number: int,
        when: datetime,
        host: str,
        outcome: str,
        purpose: str,
        *,
        redirect: str | None = None,
        reason: str | None = None,
    ) -> None:
        identifier, url, _, _ = self.record(number, survey.provider)
        self.catalog.execute(
            """
            insert into link_check (run_id, media_type, provider, slice, purpose, identifier, url, host,
                                    checked_on, outcome, redirect, reason)
            values (%s, 'image', %s, 0, %s, %s, %s, %s, %s, %s, %s, %s)
            """,
            [survey.run_id, survey.provider, purpose, identifier, url, host, when, outcome, redirect, reason],
        )

    def removed(self) -> "Checks":
        """Let image 1 be gone for four weeks, and be removed."""
        for run, when in enumerate((0, 14, 28)):
            self.found(f"gone {run}", when)
        assert self.marked() == {"made_up1"}
        return self

    def answers(self, when: float) -> int:
        """Let image 1 answer on this day and a week later; return how many records come back then."""
        assert self.found(f"answers {when}", when, outcomes={1: "there"}).back == 0
        return self.found(f"answers {when + 7}", when + 7, outcomes={1: "there"}).back

    def removals(self) -> list[tuple[str | None, int]]:
        """Return why removals ended, None for open ones, and their numbers of checks."""
        rows = self.catalog.execute("select ended_because, checks from link_removal order by number")
        return [(why, checks) for why, checks in rows]
