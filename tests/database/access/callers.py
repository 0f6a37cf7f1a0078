"""Who calls: the database role and the claims of the token, as PostgREST sets both."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.database.access.rows import USERS, uid

Claims = Mapping[str, Any]


@dataclass(frozen=True, repr=False)
class Caller:
    """One column of the matrix."""

    name: str
    role: str
    claims: Claims = field(hash=False, compare=False)
    entrance: str | None = None
    """What a domain function runs first on this caller's behalf; None where it cannot or did not."""

    def setup(self, *, enter: bool) -> str:
        """SQL that makes the rest of a transaction this caller's."""
        claims = json.dumps(self.claims).replace("'", "''")
        entered = f"select {self.entrance};" if enter and self.entrance else ""
        known = f"select pg_catalog.set_config('request.jwt.claims', '{claims}', true);"
        return f"{known} set local role {self.role}; {entered}"


def _contact_claims(contact: str, conversation: str, proof: str) -> dict[str, str]:
    ids = {"contact_id": uid("contacts", contact), "conversation_id": uid("conversations", conversation)}
    return {**ids, "proof": proof}


def _contact(name: str, contact: str, conversation: str, proof: str, workspace: str = "one") -> Caller:
    claims = _contact_claims(contact, conversation, proof)
    workspace_id = uid("workspaces", workspace)
    known = {"role": "contact", "aud": "contact", "iss": "switchboard", "sub": claims["contact_id"]}
    return Caller(name, "contact", {**known, "workspace_id": workspace_id, **claims})


def _user(name: str, user: str) -> Caller:
    claims = {"role": "authenticated", "aud": "authenticated", "sub": uid("users", user)}
    email = {"email": USERS[user]["email"]} if "email" in USERS[user] else {}
    return Caller(name, "authenticated", {**claims, **email, "is_anonymous": "is_anonymous" in USERS[user]})


def _entrance(scope: Claims) -> str:
    return f"private.enter_space('{scope['space_id']}')" if "space_id" in scope else "private.enter()"


def _switchboard(name: str, scope: Claims | None, caller: Claims | None, entrance: str | None) -> Caller:
    claims: dict[str, Any] = {"role": "switchboard", "iss": "switchboard", "aud": "switchboard"}
    claims |= {"scope": scope} if scope is not None else {}
    claims |= {"caller": caller} if caller is not None else {}
    return Caller(f"switchboard {name}", "switchboard", claims, entrance)


def _for_contact(
    name: str, contact: str, conversation: str, proof: str, scope: Claims, *, enters: bool = True
) -> Caller:
    caller = {"kind": "contact", **_contact_claims(contact, conversation, proof)}
    return _switchboard(name, scope, caller, _entrance(scope) if enters else None)


def _for_user(user: str) -> Caller:
    caller = {"kind": "user", "user_id": uid("users", user)}
    if email := USERS[user].get("email"):
        caller |= {"email": email, "email_key": email}
    return _switchboard(f"for user {user}", AT_CHAT, caller, _entrance(AT_CHAT))


ONE, TWO = uid("workspaces", "one"), uid("workspaces", "two")
AT_CHAT: Claims = {"space_id": uid("spaces", "chat")}
AT_CHAT_IN_ONE: Claims = {"workspace_id": ONE, **AT_CHAT}

# With a token of their own ------------------------------------------------------------------------------------------

ANONYMOUS = Caller("anonymous", "anon", {"role": "anon"})

CONTACT_A = _contact("contact A", "a", "a", "verified")
CONTACT_A_ARRIVAL = _contact("somebody who typed A's email", "a", "a_arrival", "asserted")
CONTACT_B = _contact("contact B", "b", "b", "asserted")
CONTACT_C = _contact("contact C of workspace two", "c", "c", "verified", "two")

STRANGER = _user("user, no member", "stranger")
NAMELESS = _user("anonymous Supabase user", "nameless")
GUEST = _user("user with a conversation, no member", "guest")
FORMER = _user("former agent", "former")
AGENT = _user("agent", "agent")
ADMIN = _user("admin", "admin")
OWNER = _user("owner", "owner")
ADMIN_2 = _user("admin of workspace two", "admin_2")

SERVICE = Caller("service role", "service_role", {"role": "service_role"})

# The functions, on somebody's behalf --------------------------------------------------------------------------------

FOR_ANONYMOUS = _switchboard("for anonymous", AT_CHAT, {"kind": "anonymous"}, _entrance(AT_CHAT))
FOR_A = _for_contact("for contact A", "a", "a", "verified", AT_CHAT_IN_ONE)
FOR_A_AT_WORK = _for_contact("for contact A, at a turn", "a", "a", "verified", {"workspace_id": ONE})
FOR_A_ARRIVAL = _for_contact("for somebody who typed A's email", "a", "a_arrival", "asserted", AT_CHAT_IN_ONE)
FOR_B = _for_contact("for contact B", "b", "b", "asserted", AT_CHAT_IN_ONE)
FOR_C = _for_contact("for contact C", "c", "c", "verified", {"workspace_id": TWO, "space_id": uid("spaces", "two")})
FOR_C_IN_ONE = _for_contact("for contact C, but in workspace one", "c", "c", "verified", AT_CHAT_IN_ONE)
FOR_STRANGER = _for_user("stranger")
FOR_NAMELESS = _for_user("nameless")
FOR_GUEST = _for_user("guest")
FOR_FORMER = _for_user("former")
FOR_AGENT = _for_user("agent")
FOR_ADMIN = _for_user("admin")
FOR_OWNER = _for_user("owner")
FOR_ADMIN_2 = _for_user("admin_2")
SYSTEM = _switchboard(
    "system, working in workspace one", {"system": True}, {"kind": "system"}, f"private.enter_workspace('{ONE}')"
)


def _managing(name: str, user: str, **more: str) -> Caller:
    caller = {"kind": "user", "user_id": uid("users", user), **more}
    return _switchboard(f"managing for {name}", {"management": True}, caller, None)


MANAGING_AGENT = _managing("agent", "agent")
MANAGING_ADMIN = _managing("admin", "admin")
MANAGING_OWNER = _managing("owner", "owner")
MANAGING_ADMIN_2 = _managing("admin of workspace two", "admin_2")
MANAGING_FORMER = _managing("former agent", "former")
MANAGING_OPERATOR = _managing("an operator", "guest", switchboard_role="operator")
MANAGING = (
    MANAGING_AGENT, MANAGING_ADMIN, MANAGING_OWNER, MANAGING_ADMIN_2, MANAGING_FORMER, MANAGING_OPERATOR,
)  # fmt: skip
"""Callers whose token is for managing: they enter by what they manage, and nothing else."""

NOT_ENTERED = _for_contact("for contact A, nothing entered", "a", "a", "verified", AT_CHAT_IN_ONE, enters=False)
NO_SCOPE = _switchboard("without a scope", None, None, None)
TWO_AT_ONE = _for_contact(
    "for workspace two at a space of one", "c", "c", "verified", {**AT_CHAT, "workspace_id": TWO}, enters=False
)
AT_CLOSED = _switchboard("at a closed space", {"space_id": uid("spaces", "closed")}, {"kind": "anonymous"}, None)

# Groups -------------------------------------------------------------------------------------------------------------

CONTACTS = (CONTACT_A, CONTACT_A_ARRIVAL, CONTACT_B, CONTACT_C)
ADMINS = (ADMIN, OWNER)
MEMBERS = (AGENT, *ADMINS)
SIGNED_IN = (STRANGER, NAMELESS, GUEST, FORMER, *MEMBERS, ADMIN_2)

FOR_USERS_AT_ONE = (
    FOR_STRANGER, FOR_NAMELESS, FOR_GUEST, FOR_FORMER, FOR_AGENT, FOR_ADMIN, FOR_OWNER, FOR_ADMIN_2,
)  # fmt: skip
BY_TOKEN_IN_ONE = (FOR_ANONYMOUS, FOR_A, FOR_A_AT_WORK, FOR_A_ARRIVAL, FOR_B, FOR_C_IN_ONE, *FOR_USERS_AT_ONE)
"""Callers whose token opens workspace one."""
IN_ONE = (*BY_TOKEN_IN_ONE, SYSTEM)
"""Callers that have entered workspace one when they reach a table or a step."""
NOWHERE = (NOT_ENTERED, NO_SCOPE, TWO_AT_ONE, AT_CLOSED, *MANAGING)
"""Callers that have entered nothing when they reach a table or a step."""
NO_WAY_IN = (NO_SCOPE, TWO_AT_ONE, AT_CLOSED, *MANAGING)
"""Callers whose token opens nothing."""
SWITCHBOARD = (*IN_ONE, FOR_C, *NOWHERE)
AT_A_SPACE = tuple(caller for caller in SWITCHBOARD if "space_id" in (caller.claims.get("scope") or {}))
"""Callers whose token is for a space, whether it opens or not."""

WITH_OWN_TOKEN = (ANONYMOUS, *CONTACTS, *SIGNED_IN)
CALLERS = (*WITH_OWN_TOKEN, SERVICE, *SWITCHBOARD)
API_ROLES = ("anon", "contact", "authenticated", "switchboard", "service_role")
