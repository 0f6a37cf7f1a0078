"""Every table and view as every caller.

A line of a table has the letters for insert, update and delete (`_WRITES`), the labelled row of each workspace that an
inserted row copies with its changed columns (`b/c` is b in workspace one and c in two), a column with a value that no
row has, and the rows that each caller selects. The line of a view, `view of table | who: rows`, has only the last.

`@one`, `@two`, `@none` and `@all` are the rows of that workspace, of no workspace and of all; an empty outcome is a
grant without a row. A caller without an entry has no grant.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from tests.database.access.callers import CALLERS
from tests.database.access.matrix import Cells, cells
from tests.database.access.world import NAMES, ROWS, Row, column_values, workspace_of

_MACROS = {
    # No policy stops the service role.
    "operators": "service: @all",
    # The functions reach the workspace that they entered.
    "entered": "operators; switchboard: ; in_one: @one; for_C: @two",
    # Only functions that entered to manage a workspace write these.
    "managed": "operators; switchboard: ",
    "members": "authenticated: ; agent admin owner: @one; admin_2: @two",
    "admins": "authenticated: ; admin owner: @one; admin_2: @two",
    "none": "",
}
_WRITES = {"E": "entered", "O": "operators", "M": "managed", "-": "none"}

_TABLES = """
workspaces                     | MMM | one two name=x | name=x | entered; members
workspace_members              | MMM | agent admin_2 user_id=users.stranger | created_at=NOW | entered; members
invitations                    | MMM | one two email_key=x | email=x | entered; authenticated:; guest: one; \
    admin owner: @one; admin_2: @two
api_keys                       | MMO | admin_key key_two id=users.guest | name=x | operators; switchboard: ; members
personas                       | MMM | one two | name=x | entered; members
spaces                         | MMM | one two | name=x | entered; members
channels                       | MMM | one two name=x external_id=x | name=x | entered; members
session_templates              | MMM | one two name=x | name=x | entered; members
answer_templates               | MMM | one two name=x shortcut=x | text=x | entered; members
contacts                       | EEO | old_one old_two | first_name=x | entered; members; contact:; A: a; C: c
contact_identities             | EEE | a c key=x | value=x | entered; members
group_participants             | EEO | b d contact_id=contacts.old_~ | role=y | entered; members
tags                           | EEE | session_a session_c name=x | name=x | entered; admins; \
    agent: contact_b session_b
contact_merges                 | EEO | one two contact_id=contacts.group_~ | undone_at=NOW | entered; members
contact_moves                  | EOO | one two row_id=tags.session_~ | given={"x":1} | entered
import_refs                    | EOO | one two external_id=x | created_at=NOW | entered; admins
contact_conflicts              | EEO | one two other_contact_id=contacts.group_~ | found_by=x | entered; members
conversations                  | EEO | a c thread_key=x | created_at=NOW | entered; admins; agent: agent b; \
    guest: guest; A: a; A_typed: a_arrival; B: b; C: c
conversation_reads             | EEO | a c conversation_id=conversations.chat_one/chat_two | read_at=NOW | entered; \
    authenticated: ; owner: a; admin_2: c; key_two:
sessions                       | EEO | b_old c_old | error_message=x | entered; admins; agent: agent b; \
    guest: guest; A: a; A_typed: a_arrival; B: b b_old; C: c c_old
session_details of sessions    | operators; admin owner: @one; admin_2: @two; agent: agent b
contact_session_details of sessions | admins; agent: agent b; guest: guest; contact:; A: a; A_typed: a_arrival; \
    B: b b_old; C: c c_old
workflow_transitions           | MOM | one two to_step=x | created_at=NOW | operators; authenticated: @none; \
    agent admin owner: @one @none; admin_2: @two @none; switchboard:; in_one: @one @none; for_C: @two @none
requests                       | EEO | a c | origin=x | entered; admins; agent: agent b; guest: guest; contact:; \
    A: a; B: b; C: c
request_details of requests | operators; admins; agent: agent b; guest: guest; contact:; A: a; B: b; C: c
quotes                         | EEO | a c operator_key=x | operator=x | entered; admins; agent: agent b
proposals                      | EEO | a c | title=x | entered; admins; agent: agent b draft_b; guest: guest; \
    contact:; A: a; B: b; C: c
session_refs                   | EOE | a c external_id=x | external_id=x | entered; admins; agent: agent b
session_reasons                | EOO | a c | reason=x | entered; admins; agent: agent b
workflow_steps                 | EOO | a c | to_step=x | entered; admins; agent: agent b
turns                          | EEO | b_old c_old client_message_id=x | error_code=x | entered; admins; \
    agent: agent b; guest: guest; A: a; A_typed: a_arrival; B: b b_old; C: c c_old
turn_errors                    | EOO | b_old c_old turn_id=turns.b/c | detail=x | entered; admins
turn_error_details of turns | service: b_old c_old; authenticated: ; admin owner: b_old; admin_2: c_old
turn_chunks                    | EOE | a c position=10 | piece=x | entered; admins; agent: b; contact:; A: a; B: b; \
    C: c
messages                       | EEO | a c | text=x | entered; admins; agent: agent b; guest: guest; A: a; \
    A_typed: a_arrival; B: b b_old b_old_answer; C: c
message_deliveries             | EEO | chat_one chat_two part=1 | error=x | entered; admins
attachments                    | EOO | chat_one chat_two place=1 | name=x | entered; admins
conversation_messages of messages | operators; admins; agent: agent b; guest: guest; contact:; A: a; \
    A_typed: a_arrival; B: b b_old b_old_answer; C: c
message_words of messages      | operators; admins; agent: agent b; guest: guest; A: a; A_typed: a_arrival; \
    B: b b_old b_old_answer; C: c
memories                       | EEE | a_former c_former | content=x | entered; admins; \
    agent: agent b known_one; guest: guest; contact:; A: a; A_typed: a_arrival; B: b; C: c
memory_embeddings              | EEO | a c memory_id=memories.known_~ | model=x | entered
memories_to_embed              | OOE | a c memory_id=memories.known_~ | queued_at=NOW | entered
memory_history                 | EEE | a c | content=x | entered; admins
turn_memories                  | EOO | a c memory_id=memories.a_former/c_former | reasons={"x":1} | entered; admins; \
    agent: agent b
turn_memory_details of turn_memories | operators; admins; agent: agent b
inbound_events                 | EOO | one two delivery_key=x | raw_body=x | entered; admins
jobs                           | EEO | queued queued_2 | last_error=x | entered; admins
webhook_deliveries of inbound_events | operators; admins
device_links                   | EEO | one two uid=x | uid=y | entered; admins; guest: one two
device_sessions                | EEO | one two external_id=x | uid=y | entered; admins; guest: one two
job_details of jobs | operators; admins
event_subscriptions            | MEM | one two | url=x | entered; admins
event_subscription_settings of event_subscriptions | entered; admins
events                         | MOO | one two | type=x | entered; admins
event_deliveries               | MEO | one two event_id=events.spare_~ | error=x | entered; admins
event_delivery_details of event_deliveries | operators; admins
rate_limits                    | EEO | one two subject=x | taken=77 | entered; admins; agent: contact_a
persona_breakers               | EEO | one two persona_id=personas.well_~ | refused=77 | entered; members
audit_events                   | EOO | contact_b contact_c | verb=x.x | operators; admins
archive_objects                | EEO | one two | row_count=77 | entered; admins
session_archives               | EEE | b_old c_old session_id=sessions.a/c | row_count=77 | entered; admins; \
    agent:; guest:; contact:; B: b_old; C: c_old
exports                        | EEE | one two | error=x | entered; admins
archive_queue                  | EEE | b_old c_old session_id=sessions.a/c | attempts=77 | entered; admins
session_rows of sessions       | entered
retention_settings             | MMO | one two place=events | days=7 | entered; members
erasures                       | OOO | one two | counts={"x":1} | entered; admins
session_stats_daily            | OOO | one two day=2030-01-01 | sessions=77 | operators; admins
contact_details of contacts | entered; members
contact_activity of contacts | operators; members
contacts_by_tag of contacts | service: b c; authenticated: ; agent admin owner: b; admin_2: c
contacts_by_space of contacts | service: a b guest c; authenticated: ; admin owner: a b guest; agent: b; admin_2: c
contacts_by_activity of contacts | service: a b guest group_one c group_two; authenticated: ; \
    admin owner: a b guest group_one; agent: b; admin_2: c group_two
contacts_without_session of contacts | service: d old_one old_two; authenticated: ; \
    admin owner: old_one; agent: a guest group_one old_one; admin_2: d old_two
contact_conflict_details of contact_conflicts | entered; members
member_details of workspace_members | operators; members
workspace_settings of workspaces | entered; members
persona_settings of personas | entered; members
space_settings of spaces | entered; members
channel_settings of channels | entered; members
private.retired_secrets        | --- | space_one space_two | accepted_until=NOW | none
private.archived_message_ids | --- | b_old c_old message_id=messages.x session_id=sessions.a/c | \
    client_message_id=x | none
private.emptied_sessions       | --- | b_old c_old session_id=sessions.a/c | until=NOW | none
private.retention_runs         | --- | one two workspace_id=workspaces.~ | place=x | none
private.erasure_salts          | --- | one two workspace_id=workspaces.~ | salt=\\x01 | none
private.tombstones             | --- | one two hash=\\x02 | erased_at=NOW | none
private.erase_rules            | --- | one two relation=public.x | detail=y | none
private.reads                  | --- | one two subject=x | taken=77 | none
private.presences              | --- | one two user_id=users.guest | typing=true | none
private.open_streams           | --- | one two subject=x | address=x | none
private.wakes                  | --- | worker worker name=x | woken_at=SOON | none
private.sweeps                 | --- | test test name=x | swept_at=SOON | none
private.session_stats_marks    | --- | one two | created_at=SOON | none
"""

HIDDEN: Mapping[tuple[str, str], str] = {
    # A token is for one conversation, and the first linked session may belong to another.
    (
        "public.contacts",
        "contact",
    ): "session_id source attributes name_key last_name_key merged_into_id unproven tokens_revoked_at",
    # A signed-in user may be the person whose session it is; members read with the role member.
    **{
        (f"public.{table}", role): hidden
        for role in ("contact", "authenticated")
        for table, hidden in {
            "conversations": "subject",
            "sessions": "metadata subject assigned_user_id workflow_state primary_quote_id proposal_id taken_over_by"
            " opened_by_key_id",
            "requests": "details",
            "proposals": "quote_id details",
            "messages": "metadata user_id client_message_id",
            "session_archives": "month row_group byte_offset byte_length sha256 row_count restored_at",
            "memories": "words sender_id duplicate_key internal superseded_by created_by",
        }.items()
    },
    # A role of the database does not tell agents from admins: views show these columns to admins.
    **{
        (f"public.{table}", role): hidden
        for role in ("authenticated", "member")
        for table, hidden in {
            "invitations": "invited_by",
            "api_keys": "hash",
            "workspaces": "allowed_networks",
            "personas": "config",
            "device_sessions": "claim_hash",
        }.items()
    },
}
"""Columns that a role may not read although it reads others of the table."""

OF_MEMBERS = re.compile(
    r"metadata|attributes|details|notes?|context|config|workflow_state|source|reason|subject|\w*(_by|actor_id)"
)
"""Names of columns for what members write for themselves, and for members' ids: no contact reads one."""

LOOSE = {
    ("public.contact_moves", "row_id"),
    ("public.audit_events", "object_id"),
    # record_archive_batch has locked the object's row, and does not check it again for each session.
    ("public.session_archives", "object_id"),
    ("public.session_archives", "session_id"),
    ("public.session_archives", "conversation_id"),
    ("public.memory_history", "memory_id"),
}
"""Columns that name a row without a foreign key: the row may be of any table, and may be deleted first."""


@dataclass(frozen=True)
class Table:
    """A table's line of the matrix."""

    name: str
    rows: str
    """The table whose labelled rows it shows."""
    select: Cells
    insert: Cells
    update: Cells
    delete: Cells
    new: Mapping[str, Row]
    """A row that could be inserted, by workspace."""
    change: tuple[str, str]

    @property
    def is_view(self) -> bool:
        """Whether it shows another table's rows."""
        return self.name != self.rows

    def labels(self, text: str) -> frozenset[str]:
        """The labelled rows that an outcome stands for."""
        return frozenset(label for word in text.split() for label in self._labels(word))

    def _labels(self, word: str) -> set[str]:
        if not word.startswith("@"):
            return {word}
        return {label for label in ROWS[self.rows] if word in ("@all", f"@{workspace_of(label)}")}

    def expected(self, outcomes: Cells, caller: str, refused: str) -> frozenset[str] | str:
        """The rows that a caller reaches, or `refused` without a grant."""
        # An agent's key gets what the agent gets, except what is the agent's own.
        own = {"agent"} if caller == "agent_key" and "@" not in outcomes.get(caller, "") else set()
        return self.labels(outcomes[caller]) - own if caller in outcomes else refused

    def granted(self, outcomes: Cells) -> set[str]:
        """The roles that have a grant."""
        return {CALLERS[caller].reads_as for caller in outcomes}

    def mixed(self) -> dict[str, Row]:
        """Rows of workspace one that each name one row of workspace two, by the column that does."""
        one, two = self.new["one"], self.new["two"]
        return {
            column: {**one, column: two[column]}
            for column in one
            if column not in ("id", "workspace_id") and two[column] != one[column] and str(two[column]) in NAMES
        }


def _read(line: str) -> Table:
    name, *rest, select = (part.strip() for part in line.split("|"))
    shown, _, rows = (name if "." in name else f"public.{name}").partition(" of ")
    rows = f"public.{rows}" if rows else shown
    insert, update, delete = (cells(_MACROS[_WRITES[letter]], _MACROS) for letter in (rest or ["---"])[0])
    new: dict[str, Row] = {}
    change = ("", "")
    if rest:
        one, two, *columns = rest[1].split()
        for number, workspace, label in ((1, "one", one), (2, "two", two)):
            copied = ROWS[rows][label].items()
            new[workspace] = {column: value for column, value in copied if column != "id" and not _is_secret(value)}
            words = re.sub(r"(\w+)/(\w+)", rf"\{number}", " ".join(columns))
            new[workspace] |= column_values(words, workspace)
        ((column, value),) = column_values(rest[2], "").items()
        change = (column, value if isinstance(value, str) else json.dumps(value))
    return Table(shown, rows, cells(select, _MACROS), insert, update, delete, new, change)


def _is_secret(value: object) -> bool:
    return isinstance(value, str) and value.startswith("secret:")


TABLES = [_read(line) for line in _TABLES.replace("\\\n", "").strip().splitlines()]
