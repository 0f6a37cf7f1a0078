"""Splitting an SQL file into its statements, as the Supabase CLI does for its history table."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

# Tokens that can hide a semicolon, and the words that open and close a `begin atomic … end` body.
_TOKEN = re.compile(
    r"""
    (?P<line_comment>--[^\n]*)
  | (?P<comment>/\*)
  | (?P<escaped>\b[eE]'(?:[^'\\]|\\.|'')*')
  | (?P<string>'(?:[^']|'')*')
  | (?P<identifier>"(?:[^"]|"")*")
  | (?P<dollar>\$(?:[^\W\d]\w*)?\$)
  | (?P<word>[^\W\d][\w$]*)
  | (?P<semicolon>;)
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")


@dataclass(frozen=True)
class Statement:
    """A statement without its semicolon; preceding comments belong to it."""

    text: str
    line: int
    """The line on which the text starts, counted from 1."""


def split(sql: str) -> list[Statement]:
    """The statements of a file in order; comments without a statement are omitted."""
    statements = []
    start = 0
    for end in _ends(sql):
        piece = sql[start:end]
        text = piece.strip()
        if text and not _only_comments(text):
            line = sql.count("\n", 0, start + len(piece) - len(piece.lstrip())) + 1
            statements.append(Statement(text, line))
        start = end + 1
    return statements


def _ends(sql: str) -> Iterator[int]:
    """Positions of the semicolons that end statements, and of the end of the text."""
    position, depth, previous = 0, 0, ""
    while match := _TOKEN.search(sql, position):
        position = match.end()
        kind = match.lastgroup
        if kind == "comment":
            position = _comment_end(sql, position)
        elif kind == "dollar":
            closing = sql.find(match[0], position)
            position = len(sql) if closing < 0 else closing + len(match[0])
        elif kind == "word":
            word = match[0].lower()
            if (word == "atomic" and previous == "begin") or (word == "case" and depth):
                depth += 1
            elif word == "end" and depth:
                depth -= 1
            previous = word
        elif kind == "semicolon" and not depth:
            yield match.start()
    yield len(sql)


def _comment_end(sql: str, position: int) -> int:
    """The end of a block comment, which may be nested."""
    depth = 1
    while depth and (edge := _COMMENT_EDGE.search(sql, position)):
        depth += 1 if edge[0] == "/*" else -1
        position = edge.end()
    return len(sql) if depth else position


def _only_comments(text: str) -> bool:
    position = 0
    while match := _TOKEN.match(text, position):
        if match.lastgroup == "comment":
            position = _comment_end(text, match.end())
        elif match.lastgroup == "line_comment":
            position = match.end()
        else:
            return False
        position += len(text[position:]) - len(text[position:].lstrip())
    return position == len(text)
