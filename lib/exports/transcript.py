"""The readable transcript of an export: HTML without scripts, in which every text is escaped."""

from collections.abc import Mapping
from html import escape
from typing import Any

Row = Mapping[str, Any]

SESSIONS = 500
"""Sessions of one file, so that a browser can show it."""

HEAD = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Transcript</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
section { border-top: 1px solid #ccc; margin-top: 2rem; }
h2 { font-size: 1rem; } time { color: #666; font-size: .85rem; }
p { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0 0 1rem; }
b.persona { color: #0b5; } b.member { color: #06c; }
</style>
<h1>Transcript</h1>
"""

END_OF_SESSION = "</section>\n"


def beginning(session: Row, names: Mapping[str, str]) -> str:
    """The heading of a session. ``names``: of personas and contacts, by id."""
    about = (f"Session {session['id']}", session.get("subject"), names.get(str(session.get("contact_id"))))
    head = escape(" · ".join(str(part) for part in (*about, session["status"]) if part))
    return f'<section id="{escape(session["id"])}">\n<h2>{head} {_time(session["created_at"])}</h2>\n'


def message(row: Row, names: Mapping[str, str]) -> str:
    """A message with its sender and time."""
    role = str(row["role"])
    sender = row.get("speaker") or names.get(str(row.get("persona_id") or row.get("contact_id")))
    partial = " (partial)" if row.get("partial") else ""
    label = f'<b class="{escape(role)}">{escape(str(sender or role.capitalize()))}</b>'
    return f"{label} {_time(row['created_at'])}{partial}\n<p>{escape(row['text'])}</p>\n"


def _time(moment: str) -> str:
    return f'<time datetime="{escape(moment)}">{escape(moment[:16].replace("T", " "))}</time>'
