"""The callers: the database role and the claims of the token, as PostgREST and the functions set both."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.database.access.world import NAMES, ROWS, uid

Claims = Mapping[str, Any]
API_ROLES = ("anon", "contact", "authenticated", "switchboard", "service_role")


@dataclass(frozen=True)
class Caller:
    """One column of the matrix."""

    name: str
    role: str
    claims: Claims = field(hash=False, compare=False)
    entrance: str | None = None
    """What a domain function calls before it reaches a table; None where it cannot or did not."""

    def setup(self, *, enter: bool) -> str:
        """SQL that makes the rest of a transaction this caller's."""
        claims = json.dumps(self.claims).replace("'", "''")
        entered = f"select {self.entrance};" if enter and self.entrance else ""
        # As PostgREST does before each request.
        refused = self.role != "authenticated" or self.name in REFUSED_KEYS
        checked = "" if refused else "select public.check_request();"
        claimed = f"select set_config('request.jwt.claims', '{claims}', true)"
        return f"{claimed}; set local role {self.role}; {checked} {entered}"

    @property
    def reads_as(self) -> str:
        """The role that reads for the caller."""
        return "member" if self.role == "authenticated" and self.name in _MEMBERS else self.role

    @property
    def scope(self) -> Claims:
        """What a token of the functions opens."""
        return self.claims.get("scope") or {}

    @property
    def identity(self) -> tuple[str | None, str | None]:
        """Whose token it is, or on whose behalf the functions call: a conversation of a contact, or a user."""
        claims = self.claims.get("caller") or self.claims
        user = claims["sub"] if self.role == "authenticated" else claims.get("user_id")
        return claims.get("conversation_id"), user

    @property
    def workspaces(self) -> set[str]:
        """The workspaces of which an answer may name something."""
        if self.role == "service_role" or "system" in self.scope:
            return {"one", "two"}
        conversation, user = self.identity
        scope = {NAMES[value][1] for name, value in self.scope.items() if name in ("workspace_id", "space_id")}
        return scope | {"two" if {conversation, user} & _OF_TWO else "one"}


_OF_TWO = {uid("conversations", "c"), uid("users", "admin_2"), uid("api_keys", "key_two")}
_USERS = ("stranger", "nameless", "guest", "former", "agent", "admin", "owner", "admin_2")
_KEYS = ("agent_key", "admin_key")
REFUSED_KEYS = {"ingest_key": (403, "PT403"), "expired_key": (401, "PT401"), "revoked_key": (401, "PT401")}
"""Keys without rights, and how PostgREST refuses them. One for ingest has rights in the commands that admit it."""
_CONTACTS = {"A": ("a", "a", "verified"), "A_typed": ("a", "a_arrival", "asserted"), "B": ("b", "b", "asserted"),
             "C": ("c", "c", "verified")}  # fmt: skip
_ONE = {"workspace_id": uid("workspaces", "one")}
_AT_ONE = {"space_id": uid("spaces", "one")}
_TWO = {"workspace_id": uid("workspaces", "two")}


def _contact(name: str) -> dict[str, str]:
    contact, conversation, proof = _CONTACTS[name]
    ids = {"contact_id": uid("contacts", contact), "conversation_id": uid("conversations", conversation)}
    return {**ids, "proof": proof}


def _with_token() -> list[Caller]:
    found = [Caller("anonymous", "anon", {"role": "anon"})]
    for name in _CONTACTS:
        claims = {"role": "contact", "aud": "contact", "iss": "switchboard", **_contact(name)}
        found.append(Caller(name, "contact", claims | (_TWO if name == "C" else _ONE) | {"sub": claims["contact_id"]}))
    for name in _USERS:
        user = ROWS["auth.users"][name]
        known = {"sub": user["id"], "email": user.get("email"), "is_anonymous": name == "nameless"}
        found.append(Caller(name, "authenticated", {"role": "authenticated", "aud": "authenticated", **known}))
    for name in (*_KEYS, "key_two", *REFUSED_KEYS):
        key = ROWS["public.api_keys"][name]
        known = {"sub": key["id"], "key_hash": key["hash"]}
        found.append(Caller(name, "authenticated", {"role": "authenticated", "aud": "authenticated", **known}))
    return [*found, Caller("service", "service_role", {"role": "service_role"})]


def _function(name: str, scope: Claims, caller: Claims, entrance: str | None = "") -> Caller:
    """The functions on behalf of a caller; by default they enter the space or workspace of their scope."""
    if entrance == "":
        entrance = f"private.enter_space('{scope['space_id']}')" if "space_id" in scope else "private.enter()"
    claims = {"role": "switchboard", "iss": "switchboard", "aud": "switchboard", "scope": scope, "caller": caller}
    return Caller(name, "switchboard", {claim: value for claim, value in claims.items() if value}, entrance)


def _user(name: str) -> dict[str, str]:
    email = ROWS["auth.users"][name].get("email")
    proof = {"email": email, "email_key": email} if email else {}
    return {"kind": "user", "user_id": uid("users", name), **proof}


def _key(name: str) -> dict[str, str]:
    key = ROWS["public.api_keys"][name]
    return {"kind": "key", "user_id": key["id"], "key_hash": key["hash"]}


def _for_contact(name: str, contact: str, scope: Claims, entrance: str | None = "") -> Caller:
    return _function(name, scope, {"kind": "contact", **_contact(contact)}, entrance)


_SWITCHBOARD = [
    _function("for_anonymous", _AT_ONE, {"kind": "anonymous"}),
    *(_for_contact(f"for_{name}", name, _ONE | _AT_ONE) for name in ("A", "A_typed", "B")),
    _for_contact("for_C", "C", _TWO | {"space_id": uid("spaces", "two")}),
    _for_contact("for_C_in_one", "C", _ONE | _AT_ONE),
    *(_function(f"for_{name}", _AT_ONE, _user(name)) for name in _USERS),
    *(_function(f"for_{name}", _AT_ONE, _key(name)) for name in _KEYS),
    *(_function(f"for_{name}", _AT_ONE, _key(name), None) for name in ("key_two", *REFUSED_KEYS)),
    # During a turn the scope is the workspace.
    _for_contact("working_for_A", "A", _ONE),
    _function("system", {"system": True}, {"kind": "system"}, f"private.enter_workspace('{_ONE['workspace_id']}')"),
    # A scope for management opens the workspace that is managed, and nothing else.
    *(
        _function(f"managing_{name}", {"management": True}, _user(name), None)
        for name in ("former", "agent", "admin", "owner", "admin_2")
    ),
    *(
        _function(f"managing_{name}", {"management": True}, _key(name), None)
        for name in (*_KEYS, "key_two", *REFUSED_KEYS)
    ),
    _function(
        "managing_operator", {"management": True},
        {**_user("guest"), "switchboard_role": "operator"}, None,
    ),
    _for_contact("before_entering", "A", _ONE | _AT_ONE, None),
    _function("no_scope", {}, {}, None),
    _for_contact("two_at_one", "C", _TWO | _AT_ONE, None),
    _function("at_closed", {"space_id": uid("spaces", "closed")}, {"kind": "anonymous"}, None),
]  # fmt: skip

CALLERS = {caller.name: caller for caller in (*_with_token(), *_SWITCHBOARD)}
WITH_OWN_TOKEN = {name for name, caller in CALLERS.items() if caller.role in ("anon", "contact", "authenticated")}


def _named(names: str) -> set[str]:
    return {name for word in names.split() for name in GROUPS.get(word, {word})}


_AT_SPACE_ONE = "for_anonymous for_A for_A_typed for_B for_C_in_one for_users"
GROUPS: dict[str, set[str]] = {
    **{name: {name} for name in CALLERS},
    **{role: {caller.name for caller in CALLERS.values() if caller.role == role} for role in API_ROLES},
}
GROUPS["*"] = set(CALLERS)
GROUPS["managing"] = {name for name in CALLERS if name.startswith("managing_")}
GROUPS["for_users"] = {f"for_{name}" for name in (*_USERS, *_KEYS)}
# A key gets what such a member gets.
for _way in ("", "for_", "managing_"):
    for _member, _machine in (("admin", "admin_key"), ("agent", "agent_key"), ("admin_2", "key_two")):
        GROUPS[f"{_way}{_member}"] = {f"{_way}{_member}", f"{_way}{_machine}"}
GROUPS["opens_one"] = _named(f"{_AT_SPACE_ONE} before_entering")
"""Their scope opens space one."""
GROUPS["in_one"] = _named(f"{_AT_SPACE_ONE} working_for_A system")
"""They have entered workspace one when they reach a table."""
GROUPS["no_keys_of_one"] = {f"for_{name}" for name in ("key_two", *REFUSED_KEYS)}
GROUPS["any_keys"] = {f"{way}{name}" for way in ("for_", "managing_") for name in (*_KEYS, "key_two", *REFUSED_KEYS)}
GROUPS["opens_nothing"] = _named("no_scope two_at_one at_closed managing no_keys_of_one")
GROUPS["at_a_space"] = {name for name, caller in CALLERS.items() if "space_id" in caller.scope}

_MEMBERS = ("agent", "admin", "owner", "admin_2", *_KEYS, "key_two")
_STAFF = {
    "one": {
        "agents": "agent agent_key", "admins": "admin owner admin_key", "owners": "owner",
        "only_admins": "admin admin_key",
        "keys": "agent_key admin_key", "admin_keys": "admin_key",
    },
    "two": {"agents": "", "admins": "admin_2 key_two", "owners": "", "only_admins": "admin_2 key_two",
            "keys": "key_two", "admin_keys": "key_two"},
}  # fmt: skip


def groups_of(workspace: str) -> dict[str, set[str]]:
    """The groups that depend on a workspace: its agents, admins and members, by themselves or through the functions."""
    staff = {group: set(names.split()) for group, names in _STAFF[workspace].items()}
    staff["members"] = staff["agents"] | staff["admins"]
    return {
        f"{way}{group}": {f"{way}{name}" for name in names}
        for way in ("", "for_", "managing_")
        for group, names in staff.items()
    }
