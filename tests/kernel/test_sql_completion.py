"""What is offered at a place in SQL: a table of places, each with exactly the names that may stand there."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest
from server_checks import ServerWatch

from asyncdb_nb import Database, run
from asyncdb_nb.jupyter.known_names import Names, read_names
from asyncdb_nb.jupyter.sql_completion import offers

SCHEMA = """
create schema flows; create schema "Big Co";
create table customer (id int primary key, name text, "Home Town" text, "order" int);
create table invoice (id int primary key, customer_id int, total numeric, placed_at date);
create table "Invoice Line" (invoice_id int, "Qty" int, price numeric);
create view recent as select id, total from invoice;
create table flows.run (id int, status text, "User" text);
create table flows.customer (id int, flow text);
create table "Big Co"."Ledger" (a int, b int);
create function add_tax(n numeric) returns numeric language sql as 'select n';
create function flows.restart(n int) returns int language sql as 'select n';
"""
VISIBLE = '"Invoice Line" customer invoice recent'
ALL = f'{VISIBLE}|flows.customer|flows.run|"Big Co"."Ledger"'
CUSTOMER = 'id name "Home Town" "order"'
INVOICE = "id customer_id total placed_at"
OF_BOTH = 'c.id name "Home Town" "order" i.id customer_id total placed_at c i'

FUNCTIONS = ("add_tax", "restart", "date_trunc")

PLACES = [
    # tables
    ("select * from |", ALL),
    ("select * from inv|", '"Invoice Line" invoice'),
    ("select * from INV|", '"Invoice Line" invoice'),
    ('select * from "Inv|', '"Invoice Line"'),
    ('select * from "Inv|oice Line" where 1 = 1', '"Invoice Line"'),
    ("select * from ru|", "flows.run"),
    ("select * from flo|", "flows.customer flows.run flows"),
    ("select * from flows.|", "customer run"),
    ("select * from flows.ru|", "run"),
    ("select * from FLOWS.ru|", "run"),
    ('select * from "Big Co".|', '"Ledger"'),
    ('select * from "Big Co"."Le|', '"Ledger"'),
    ("select * from big|", '"Big Co"."Ledger"|"Big Co"'),
    ("select * from customer join |", ALL),
    ("select * from customer c left join rec|", "recent"),
    ("select * from customer, rec|", "recent"),
    ("select * from customer c, invoice i, rec|", "recent"),
    ("insert into rec|", "recent"),
    ("update inv|", '"Invoice Line" invoice'),
    ("delete from inv|", '"Invoice Line" invoice'),
    ("delete from customer using inv|", '"Invoice Line" invoice'),
    ("truncate inv|", '"Invoice Line" invoice'),
    ("alter table rec|", "recent"),
    ("select (select max(id) from inv|)", '"Invoice Line" invoice'),
    ("select * from pg_catalog.pg_namespac|", "pg_namespace"),
    ("select 1; select * from inv|; select 2", '"Invoice Line" invoice'),
    ("explain analyze select * from inv|", '"Invoice Line" invoice'),
    # CTEs and sub-selects
    ("with old as (select id, total as sum from invoice) select * from ol|", "old"),
    ("with old as (select id, total as sum from invoice) select | from old", "id sum old"),
    ("with old as (select id, total as sum from invoice) select o.| from old o", "id sum"),
    ("with old (a, b) as (select 1, 2) select | from old", "a b old"),
    ("with a as (select * from recent), b as (select | from a) select 1", "id total a"),
    ("with a as (select 1 as x), b as (select x, 2 as y from a) select b.| from b", "x y"),
    ("with d as (delete from invoice returning id, total) select | from d", "id total d"),
    ("with recursive t as (select id from recent union select | from t) select 1", "id t"),
    ("select s.| from (select id, count(*), upper(name), total * 2 as twice from invoice) s", "id count upper twice"),
    ("select | from (select * from recent) as s", "id total s"),
    ("select * from customer c where exists (select 1 from recent r where r.id = c.|)", CUSTOMER),
    ("select * from customer c where exists (select 1 from recent r where |)",
     'r.id total r c.id name "Home Town" "order" c'),
    ("select id from recent union select | from customer", f"{CUSTOMER} customer"),
    # columns
    ("select | from customer", f"{CUSTOMER} customer"),
    ("select na| from customer", "name"),
    ("select id, na|\nfrom customer", "name"),
    ("select NA| from customer", "name"),
    ("select ho| from customer", '"Home Town"'),
    ('select "Ho| from customer', '"Home Town"'),
    ("select c.| from customer c", CUSTOMER),
    ("select c.or| from customer as c", '"order"'),
    ("select customer.na| from customer", "name"),
    ("select r.| from flows.run r", 'id status "User"'),
    ("select flows.run.| from flows.run", 'id status "User"'),
    ('select l.| from "Invoice Line" l', 'invoice_id "Qty" price'),
    ("select | from customer c join invoice i on c.id = i.customer_id", OF_BOTH),
    ("select * from customer c join invoice i on |", OF_BOTH),
    ("select * from customer c join invoice i on c.id = i.cu|", "customer_id"),
    ("select * from customer c join invoice i using (to|)", "total"),
    ("select * from customer where na|", "name"),
    ("select * from customer where id = 1 and (na|)", "name"),
    ("select * from customer where id in (|)", f"{CUSTOMER} customer"),
    ("select * from customer group by na|", "name"),
    ("select * from customer order by id, na|", "name"),
    ("select case when na| then 1 end from customer", "name"),
    ("select coalesce(na|, 'x') from customer", "name"),
    ("select extract(year from pla|) from invoice", "placed_at"),
    ("select name || na| from customer", "name"),
    ("select * from customer where id is distinct from ord|", '"order"'),
    ("insert into invoice (|", INVOICE),
    ("insert into invoice (id, to|) values (1, 2)", "total"),
    ("insert into flows.run (st|", "status"),
    ("update invoice set |", INVOICE),
    ("update invoice set total = 1, pl|", "placed_at"),
    ("update invoice set total = to|", "total"),
    ("delete from invoice where to|", "total"),
    ("insert into invoice values (1) returning to|", "total"),
    ("select stat|", "status"),
    ("select id from customer for update of |", ""),
    # functions
    ("select add_t|", "add_tax"),
    ("select add_t|(total) from invoice", "add_tax"),
    ("select flows.res|", "restart"),
    ("select date_trun|", "date_trunc"),
    # nothing
    ("sel|", ""),
    ("select 'na| from customer", ""),
    ("select 'from |' from customer", ""),
    ("select $$ from | $$", ""),
    ("select id -- from |", ""),
    ("select id /* from | */ from customer", ""),
    ("select id as | from customer", ""),
    ("select * from customer |", ""),
    ("select * from customer wh|", ""),
    ("select * from customer limit |", ""),
    ("select 1| from customer", ""),
    ("select * from nowhere.|", ""),
    ("select x.| from customer c", ""),
    ("create table |", ""),
    ("create temp table rec|", ""),
]  # fmt: skip


@pytest.fixture(scope="module")
def names(server_watch: ServerWatch, database_url: str) -> Iterator[Names]:
    server_watch.query("create database completing")
    url = database_url.replace("/tests?", "/completing?")

    async def read() -> Names:
        async with Database(url) as db:
            await db.execute(SCHEMA)
            async with db.session(readonly=True) as session:
                found = await read_names(session)
        few = [(schema, name, own) for schema, name, own in found.functions if name in FUNCTIONS]
        return replace(found, functions=few)  # with all of PostgreSQL's, the table would be hard to read

    yield run(read())
    server_watch.query("drop database completing with (force)")


@pytest.mark.parametrize(("place", "expected"), PLACES, ids=[place for place, _ in PLACES])
def test_scenario_77_the_names_that_may_stand_at_a_place(names: Names, place: str, expected: str) -> None:
    cursor = place.index("|") if place.count("|") == 1 else place.rindex("|")

    start, found = offers(names, place[:cursor] + place[cursor + 1 :], cursor)

    wanted = expected.split("|") if "|" in expected else [expected]
    assert sorted(offer.text for offer in found) == sorted(word for part in wanted for word in words(part))
    assert start <= cursor


def words(text: str) -> list[str]:
    """Cut at spaces that are not in quotes."""
    parts, inside = [""], False
    for character in text:
        inside ^= character == '"'
        if character == " " and not inside:
            parts.append("")
        else:
            parts[-1] += character
    return [part for part in parts if part]


def test_functions_of_postgresql_that_nobody_calls_are_not_offered(
    server_watch: ServerWatch, database_url: str
) -> None:
    async def read() -> Names:
        async with Database(database_url) as db, db.session(readonly=True) as session:
            return await read_names(session)

    known = {name for schema, name, _ in run(read()).functions if schema == "pg_catalog"}
    assert {"date_trunc", "count", "sum", "percentile_cont", "jsonb_build_object", "generate_series"} <= known
    assert not {"int4pl", "namege", "int4in", "textsend", "int8_avg"} & known


def test_what_is_typed_of_a_name_is_replaced_with_its_quote(names: Names) -> None:
    for sql, typed in (('select * from "Inv', '"Inv'), ("select * from flows.ru", "ru"), ("select * from inv", "inv")):
        assert sql[offers(names, sql, len(sql))[0] :] == typed


def test_no_text_is_too_broken(names: Names) -> None:
    """Pieces of SQL in any order, with the cursor anywhere: an unfinished statement is the usual one."""
    text = "select from join on where ( ) , . ; with as c.customer invoice i \"I ' $$ /* -- * :: union insert into"
    pieces = text.split()
    pieces += ["update", "set", "values", "returning", "using", "lateral", "recursive", "order by", "\n", '"Big Co".']
    chance = random.Random(1)
    for _ in range(3000):
        sql = " ".join(chance.choices(pieces, k=chance.randint(1, 14)))
        cursor = chance.randint(0, len(sql))
        start, found = offers(names, sql, cursor)
        assert 0 <= start <= cursor
        assert len({*found}) == len(found)
