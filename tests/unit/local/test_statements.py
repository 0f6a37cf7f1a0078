"""An SQL file falls into its statements where Postgres would end them, and nowhere else."""

import pytest

from local.statements import Statement, split


@pytest.mark.parametrize(
    ("sql", "texts"),
    [
        ("select 1; select 2", ["select 1", "select 2"]),
        ("select ';' as \"a;b\"; select 2;", ["select ';' as \"a;b\"", "select 2"]),
        ("select 'it''s; one'; select 2;", ["select 'it''s; one'", "select 2"]),
        (r"select E'it\'s; one'; select 2;", [r"select E'it\'s; one'", "select 2"]),
        ("do $$ begin null; end $$; select 2;", ["do $$ begin null; end $$", "select 2"]),
        ("select $a$ ; $b$ ; $a$; select 2;", ["select $a$ ; $b$ ; $a$", "select 2"]),
        ("select $1; select a$b; select c$d;", ["select $1", "select a$b", "select c$d"]),
        ("-- one; two\nselect 1; -- three; four", ["-- one; two\nselect 1"]),
        ("/* a; /* b; */ c; */ select 1; /* ; */", ["/* a; /* b; */ c; */ select 1"]),
        (
            "create function f() returns int begin atomic select case when a then b; end; end; select 2;",
            ["create function f() returns int begin atomic select case when a then b; end; end", "select 2"],
        ),
        ("begin; select 1; end;", ["begin", "select 1", "end"]),
        ("", []),
        (" ;; \n -- nothing\n ; /* at all */", []),
    ],
)
def test_statements_end_at_their_own_semicolons(sql: str, texts: list[str]) -> None:
    assert [statement.text for statement in split(sql)] == texts


def test_a_statement_knows_the_line_it_starts_on() -> None:
    assert split("select 1;\n\n-- why\nselect\n2;select 3;") == [
        Statement("select 1", 1),
        Statement("-- why\nselect\n2", 3),
        Statement("select 3", 5),
    ]
