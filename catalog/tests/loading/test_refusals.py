"""Rows that constraints, indexes and triggers of an adopted table refuse."""

import random

import psycopg
import pytest

from catalog.core.errors import Fatal
from catalog.ingestion.reasons import OTHER, URL_TAKEN
from catalog.loading import refusals
from catalog.tests.database.media import change_back
from catalog.tests.loading.loader import delete, image, jpg, outcome

pytestmark = pytest.mark.database

TITLES = """
    create table titles (title text primary key);
    insert into titles select 'good ' || generate_series(1, 99);
    alter table image add constraint known foreign key (title) references titles
"""
AUDIT = """
    create table audit (title text constraint not_poison check (title not like 'poison%'));
    create function audited() returns trigger language plpgsql as
        'begin insert into audit values (new.title); return new; end';
    create trigger audited after insert or update on image for each row execute function audited()
"""
FORBID = """
    create function forbid() returns trigger language plpgsql as
        $$ begin
            if new.title = 'poison' then raise exception 'not % of all', new.title; end if;
            return new;
        end $$;
    create {} trigger forbid {} insert or update on image {} for each row execute function forbid()
"""
# How a table refuses the title "poison", which no other row may have twice → the reason of its rejects.
FORMS = {
    TITLES: "violates the foreign key known",
    f"{TITLES} deferrable initially deferred": "violates the foreign key known",
    "create unique index theirs on image (title)": "violates the unique index theirs",
    "alter table image add constraint theirs exclude (title with =)": (
        "violates the exclusion constraint theirs"
    ),
    "alter table image add constraint good check (title <> 'poison' and created_on <= clock_timestamp())": (
        "violates the check constraint good"
    ),
    AUDIT: "violates the check constraint not_poison",
    FORBID.format("", "before", ""): "refused by PostgreSQL: not poison of all",
    FORBID.format("constraint", "after", "deferrable initially deferred"): (
        "refused by PostgreSQL: not poison of all"
    ),
    "create index theirs on image ((1 / (ascii(title) - ascii('p'))))": (
        "refused by PostgreSQL: division by zero"
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_row_that_a_table_refuses_costs_itself(load, catalog, form):
    """2 would be changed, 4 would be new; the others are written. In an index, 9 has the title before."""
    load([image(n, title=f"good {n}") for n in (1, 2, 3)])
    taken = "unique" in form or "exclude" in form
    load([image(9, title="poison")] if taken else [])
    catalog.execute(form)
    changed = [image(1, title="good 11"), image(2, title="poison"), image(3, title="good 13")]
    report = load([*changed, image(4, title="poison"), image(5, title="good 5")])
    assert outcome(report) == (1, 2, 0, 0, 2)
    assert report.rejected == {FORMS[form]: 2}
    assert [(line["record"]["foreign_identifier"], line["reason"]) for line in load.rejects()] == [
        ("id2", FORMS[form]),
        ("id4", FORMS[form]),
    ]
    titles = dict(catalog.execute("select foreign_identifier, title from image").fetchall())
    assert titles == {
        "id1": "good 11",
        "id2": "good 2",
        "id3": "good 13",
        "id5": "good 5",
        **({"id9": "poison"} if taken else {}),
    }


def test_a_value_that_a_domain_refuses_costs_its_row(load, catalog):
    catalog.execute("create domain good as text constraint not_poison check (value <> 'poison')")
    catalog.execute("alter table image alter title type good")
    report = load([image(1), image(2, title="poison"), image(3, title="good")])
    reason = 'refused by PostgreSQL: value for domain good violates check constraint "not_poison"'
    assert (report.inserted, report.rejected) == (2, {reason: 1})


def test_a_value_that_is_too_long_for_an_index_costs_its_row(load, catalog):
    catalog.execute("create index theirs on image ((meta_data ->> 'text'))")
    noise = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=20_000))
    report = load([image(1, meta_data={"text": noise}), image(2)])
    assert outcome(report) == (1, 0, 0, 0, 1)
    assert next(iter(report.rejected)).startswith("refused by PostgreSQL: index row ")


def test_a_constraint_whose_values_vary_refuses_what_it_refuses(load, catalog):
    catalog.execute("alter table image add lot float default random(), add constraint won check (lot < 0.5)")
    report = load([image(n) for n in range(200)])
    assert (report.inserted + report.rejected["violates the check constraint won"]) == 200
    assert min(report.inserted, *report.rejected.values()) > 0
    [(stored,)] = catalog.execute("select count(*) from image").fetchall()
    assert stored == report.inserted


def test_rows_of_several_blocks(load, catalog, monkeypatch):
    monkeypatch.setattr(refusals, "_BLOCK", 7)
    load([image(n) for n in range(2, 61, 2)])
    catalog.execute("alter table image add constraint lot check (height % 5 > 0)")
    report = load([image(n, height=n) for n in range(1, 61)])
    assert (report.inserted, report.updated) == (24, 24)
    assert report.rejected == {"violates the check constraint lot": 12}
    assert {line["record"]["height"] for line in load.rejects()} == {*range(5, 61, 5)}


def test_two_rows_of_a_load_that_exclude_each_other(load, catalog):
    """The first one is kept."""
    catalog.execute("alter table image add constraint theirs exclude (title with =)")
    report = load([image(n, title=f"{n // 2}") for n in range(10)])
    assert (report.inserted, report.rejected) == (5, {"violates the exclusion constraint theirs": 5})
    assert {line["record"]["foreign_identifier"] for line in load.rejects()} == {
        f"id{n}" for n in (1, 3, 5, 7, 9)
    }


def test_a_trigger_that_repairs_rows_is_asked_first(load, catalog):
    catalog.execute("alter table image add constraint tall check (height > 10)")
    change_back(catalog, "if new.title = 'repair' then new.height := 20; end if;", "insert")
    report = load([image(1, title="repair", height=1), image(2, height=1)])
    assert (report.inserted, report.rejected) == (1, {"violates the check constraint tall": 1})


def test_more_refused_rows_than_a_load_looks_for_end_it(load, catalog, monkeypatch):
    monkeypatch.setattr(refusals, "_LIMIT", 3)
    load([image(1)])
    catalog.execute("alter table image add constraint tall check (height > 10)")
    low = [image(n, height=1) for n in range(2, 6)]
    report = load([*low[:3], image(9)])
    assert outcome(report) == (1, 0, 0, 0, 3)
    with pytest.raises(Fatal, match=r"more than 3 rows \(violates the check constraint tall\)"):
        load([*low, image(10)])
    [(stored,)] = catalog.execute("select count(*) from image").fetchall()
    assert stored == 2


@pytest.mark.parametrize(
    "forbid",
    [
        "raise exception 'no' using errcode = 'TT001';",
        "raise no_data_found;",
        "select 1 into strict n from generate_series(1, 2);",
        "assert false;",
        "case n when 1 then n := 2; end case;",
        "raise insufficient_privilege;",
    ],
)
def test_a_trigger_may_refuse_a_row_with_any_error(load, catalog, forbid):
    catalog.execute(
        f"""
        create function forbid() returns trigger language plpgsql as
            $$ declare n int; begin if new.title = 'bad' then {forbid} end if; return new; end $$;
        create trigger forbid before insert on image for each row execute function forbid()
        """
    )
    report = load([image(1), image(2, title="bad"), image(3)])
    assert outcome(report) == (2, 0, 0, 0, 1)


def test_messages_that_quote_values_are_counted_together_from_some_number_on(load, catalog):
    change_back(catalog, "if new.title = 'bad' then raise exception 'not %', new.url; end if;", "insert")
    report = load([image(n, title="bad") for n in range(60)] + [image(99)])
    assert (report.inserted, len(report.rejected)) == (1, 51)
    assert report.rejected[f"refused by PostgreSQL: {OTHER}"] == 10


def test_a_url_that_a_refused_row_brought_first_goes_to_the_next_one(load, catalog, caplog):
    """Of 5, 6, 7 and 8, which bring one URL, the table refuses two; 1 and 2 exchange theirs."""
    load([image(1), image(2), image(3)])
    delete(catalog, 3)
    catalog.execute("alter table image add constraint tall check (height > 10)")
    bad = [image(n, url=jpg(5), height=9) for n in (5, 6)]
    good = [image(n, url=jpg(5)) for n in (7, 8)]
    report = load([image(1, url=jpg(2)), image(2, url=jpg(1)), image(3, height=9), *bad, *good])
    assert outcome(report) == (1, 2, 0, 1, 3)
    assert "2 rows are rejected, which the table refuses." in caplog.text
    assert report.rejected == {"violates the check constraint tall": 2, URL_TAKEN: 1}
    found = dict(catalog.execute("select foreign_identifier, url from image").fetchall())
    assert found == {"id1": jpg(2), "id2": jpg(1), "id7": jpg(5)}


def test_a_refused_row_keeps_the_url_that_it_would_have_given_up(load, catalog):
    load([image(1), image(2)])
    change_back(catalog, "if new.title = 'bad' then raise exception 'bad'; end if;")
    report = load([image(1, url=jpg(2)), image(2, url=jpg(3), title="bad"), image(4, url=jpg(1))])
    assert report.rejected == {"refused by PostgreSQL: bad": 1, URL_TAKEN: 2}
    assert dict(catalog.execute("select foreign_identifier, url from image").fetchall()) == {
        "id1": jpg(1),
        "id2": jpg(2),
    }


def test_a_record_whose_url_a_trigger_defends_keeps_it(load, catalog):
    load([image(1), image(2)])
    change_back(catalog, "if new.url <> old.url then raise exception 'no'; end if;")
    report = load([image(1, url=jpg(2)), image(2, url=jpg(1)), image(3)])
    assert (report.inserted, report.rejected) == (1, {URL_TAKEN: 2})


def test_a_row_that_another_writer_has_inserted_meanwhile_is_not_refused(load, catalog):
    """While rows are looked for that the table refuses."""
    catalog.execute("alter table image add constraint tall check (height > 10)")
    looks: list[str] = []

    def meanwhile(text):
        if " new, " in text:
            looks.append(text)
            if len(looks) == 2:
                catalog.execute(
                    "insert into image (created_on, updated_on, removed_from_source, license, url, provider,"
                    " foreign_identifier) values (now(), now(), false, 'cc0', %s, 'example', 'id2')",
                    [jpg(2)],
                )

    report = load([image(1, height=1), image(2), image(3)], progress=meanwhile)
    assert report.rejected == {"violates the check constraint tall": 1}
    assert (report.inserted, report.updated + report.unchanged, len(looks)) == (1, 1, 3)


def test_an_error_that_no_row_causes_ends_a_load(load, catalog):
    change_back(catalog, "perform 1 from no_such_table;", "insert")
    with pytest.raises(psycopg.errors.UndefinedTable):
        load([image(1)])


def test_a_url_that_a_trigger_defends_at_the_commit_stays(load, catalog):
    """Beside a row that the table refuses, which is looked for with immediate triggers."""
    load([image(1), image(2)])
    catalog.execute("""
        create function defend() returns trigger language plpgsql as
            $$ begin
                if new.url <> old.url and old.title is null then raise exception 'no'; end if;
                return null;
            end $$;
        create constraint trigger defend after update on image deferrable initially deferred
            for each row execute function defend();
    """)
    report = load([image(1, url=jpg(2)), image(2, url=jpg(1)), image(3)])
    assert (report.inserted, report.rejected) == (1, {URL_TAKEN: 2})
    assert dict(catalog.execute("select foreign_identifier, url from image").fetchall()) == {
        f"id{n}": jpg(n) for n in (1, 2, 3)
    }


@pytest.mark.timeout(60)
@pytest.mark.parametrize("event", ["insert", "update"])
def test_a_table_whose_changes_are_forbidden_ends_a_load(load, catalog, event):
    """No row causes that: a trigger of the statement is called even if the statement changes nothing."""
    load([image(1), image(2)])
    catalog.execute(f"""
        create function forbid() returns trigger language plpgsql as
            $$ begin raise exception 'frozen'; end $$;
        create trigger forbid before {event} on image for each statement execute function forbid();
    """)
    with pytest.raises(psycopg.errors.RaiseException, match="frozen"):
        load([image(1, url=jpg(2)), image(2, url=jpg(3)), image(4)])
