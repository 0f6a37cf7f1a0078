"""What counts sessions and tells the figures, as every caller."""

from tests.database.access.callers import ADMIN_2, ADMINS, AGENT, GUEST, ONE, SIGNED_IN, TWO
from tests.database.access.matrix import Call, Cells, Function

_READERS = ("authenticated",)


def _figures(scope: str, sessions: int, registered: int) -> dict[str, object]:
    return {"scope": scope, "sessions": {"total": sessions}, "funnel": {"registered": registered}}


_OF_ONE: Cells = {
    SIGNED_IN: _figures("own", 0, 0),
    GUEST: _figures("own", 1, 1),
    # Their own, and B's, which is assigned to them.
    AGENT: _figures("own", 2, 1),
    ADMINS: _figures("workspace", 6, 5),
}
_OF_TWO: Cells = {SIGNED_IN: _figures("own", 0, 0), ADMIN_2: _figures("workspace", 2, 4)}

STATISTICS = (
    Function(
        "public.read_session_stats(uuid,jsonb)",
        _READERS,
        (
            Call("public.read_session_stats()", {**_OF_ONE, ADMIN_2: _figures("workspace", 2, 4)}),
            Call(f"public.read_session_stats('{ONE}')", _OF_ONE),
            Call(f"public.read_session_stats('{TWO}')", _OF_TWO, foreign=True),
        ),
    ),
    Function(
        "private.session_stats(uuid,jsonb)",
        _READERS,
        (
            Call(f"private.session_stats('{ONE}', '{{}}')", _OF_ONE),
            Call(f"private.session_stats('{TWO}', '{{}}')", _OF_TWO, foreign=True),
            # No workspace's figures come without its name.
            Call(
                "private.session_stats(null, '{}')",
                {
                    SIGNED_IN: _figures("own", 0, 0), GUEST: _figures("own", 1, 1), AGENT: _figures("own", 2, 1),
                },
            ),
        ),
        definer=True,
    ),
    Function(
        "private.count_sessions(uuid,timestamp with time zone[],timestamp with time zone[],uuid[],uuid,uuid,text)",
        (),
        (),
    ),
    Function("private.sum_session_days(uuid,timestamp with time zone)", (), ()),
    Function("private.keep_session_periods(uuid,timestamp with time zone)", (), ()),
    Function("private.count_past_sessions()", (), ()),
    Function("private.describe_latency(bigint,bigint,integer[],bigint[])", (), ()),
    Function("private.describe_part(numeric,numeric,numeric,numeric,numeric,numeric)", (), ()),
    Function("private.next_month(timestamp with time zone)", (), ()),
    Function("private.rate(numeric,numeric)", (), ()),
    Function("private.mark_session_hour()", (), (), definer=True),
    Function("private.mark_contact_hour()", (), (), definer=True),
    Function("private.mark_conversation_hours()", (), (), definer=True),
)  # fmt: skip
