"""All that there is to judge: what the clients saw, and what the database holds."""

from dataclasses import dataclass
from typing import Any

from tests.faults.seen import Reading, Seen

Row = dict[str, Any]

TABLES: dict[str, str] = {
    "turns": """
        select t.id, t.conversation_id, t.session_id, t.client_message_id, t.status::text, t.error_code,
               extract(epoch from t.finished_at)::float8 as ended, extract(epoch from t.lease_until)::float8 as lease,
               p.kind as persona_kind, p.session_policy::text
          from public.turns t
          left join public.sessions s on s.id = t.session_id
          left join public.personas p on p.id = s.persona_id""",
    "messages": "select id, turn_id, session_id, conversation_id, role::text, text, partial from public.messages",
    "sessions": """
        select id, conversation_id, contact_id, workspace_id, status::text, turn_count, message_count
          from public.sessions""",
    "contacts": "select id, workspace_id, session_id from public.contacts",
    "chunks": "select turn_id from public.turn_chunks",
    "limits": "select name, subject, taken, refused, window_started_at > now() as ahead from public.rate_limits",
    "jobs": """
        select id, kind, status::text, attempts, max_attempts, lease_until < now() - interval '2 minutes' as stuck
          from public.jobs""",
    "audit": "select verb, object_id, code from public.audit_events where verb like 'turn.%'",
}


@dataclass(frozen=True)
class Evidence:
    """All that there is to judge."""

    seen: Seen
    tables: dict[str, list[Row]]
    sweep_seconds: int

    @property
    def turns(self) -> dict[str, Row]:
        """Every turn by its id."""
        return {str(row["id"]): row for row in self.tables["turns"]}


def waited_for_the_end(reading: Reading, turn: Row) -> tuple[float, float]:
    """From when on a reader could be told the end (the turn had ended, and they were there), and when they were."""
    since = max(turn["ended"], reading.first_resume_at or 0.0)
    return since, reading.final["t"] if reading.final else since
