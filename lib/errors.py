"""Every error that a caller can receive, with its status and its stable code.

    Problem                            sent as RFC 9457 application/problem+json
    ├── Moved                  307     contact_merged
    ├── InvalidJson            400     invalid_json
    ├── AmbiguousLength        400     ambiguous_length
    ├── Unauthenticated        401
    │   ├── TokenMissing               token_missing
    │   ├── TokenInvalid               token_invalid
    │   ├── TokenExpired               token_expired
    │   ├── TokenRevoked               token_revoked
    │   ├── ApiKeyInvalid              api_key_invalid
    │   ├── ApiKeyExpired              api_key_expired
    │   ├── SecretInvalid              secret_invalid
    │   └── TimestampInvalid           timestamp_invalid
    ├── Forbidden              403     forbidden
    │   └── OriginNotAllowed           origin_not_allowed
    ├── NotFound               404     not_found, space_not_found, turn_not_found, persona_not_found, …
    ├── MethodNotAllowed       405     method_not_allowed
    ├── BodyTimeout            408     body_timeout
    ├── BodyTooLarge           413     body_too_large
    ├── UnsupportedMediaType   415     unsupported_media_type
    ├── InvalidBody            422     invalid_body, with a list of fields
    ├── Refused           4xx, 503     refused by the database: turn_in_progress 409, rate_limited 429, …
    ├── InternalError          500     internal_error
    ├── ArchiveBroken          500     archive_broken
    └── BackendUnavailable     503     backend_unavailable

    ConfigError                        a setting is missing or wrong: the function does not start

A turn that streams can no longer change its HTTP status. A later failure is an ``error`` event with one of the codes in
``FAILURES``, which is also the failed turn's ``error_code``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from http import HTTPStatus
from typing import Any, Literal, Self

from typing_extensions import TypedDict

_MOST_FAULTS = 10
"""Invalid fields that the detail of a problem names; its ``errors`` has all of them."""


class ConfigError(Exception):
    """A setting is missing or invalid; the message names the setting, never its value."""


_FAULTS: Mapping[str, tuple[str, str | None]] = {
    "missing": ("required", None),
    "must not be empty": ("required", None),
    "string_too_short": ("too_short", "min_length"),
    "string_too_long": ("too_long", "max_length"),
    "greater_than_equal": ("too_small", "ge"),
    "less_than_equal": ("too_large", "le"),
    **dict.fromkeys(
        ("int_type", "int_parsing", "int_from_float", "float_type", "float_parsing"), ("not_a_number", None)
    ),
    "must be an email address": ("not_an_email", None),
    "must be a phone number": ("not_a_phone", None),
    "must be an international phone number, with + and the country": ("not_a_phone", None),
}
"""The code of a fault by pydantic's type or our message, and what pydantic calls the limit."""


@dataclass(frozen=True)
class FieldError:
    """An invalid field of a body: its dotted path and the reason, without the value.

    ``code`` and ``limit``, for pages that say common reasons in the user's language; null for the others.
    """

    field: str
    message: str
    code: str | None = None
    limit: float | None = None

    @classmethod
    def of(cls, fault: Mapping[str, Any], *within: str, message: str | None = None) -> Self:
        """The error of a fault that pydantic found, in a part of the body; ``message`` replaces its own."""
        said = str(fault["msg"]).removeprefix("Value error, ")
        code, bound = _FAULTS.get(fault["type"]) or _FAULTS.get(said) or (None, None)
        limit = fault.get("ctx", {}).get(bound)
        if (code, limit) == ("too_short", 1):
            code, limit = "required", None
        # A limit may be a decimal number or a moment too, of which JSON knows neither.
        number = float(limit) if isinstance(limit, Decimal) else limit if isinstance(limit, int | float) else None
        return cls(".".join(map(str, (*within, *fault["loc"]))), message or said, code, number)

    def document(self) -> dict[str, Any]:
        """Its members, without those that are null."""
        return {name: value for name, value in vars(self).items() if value is not None}


class Problem(Exception):  # noqa: N818 (RFC 9457's name)
    """An error whose attributes may all be shown to the caller.

    ``retry_after`` is in seconds. ``extra`` are further members of the problem document.
    """

    status: int = 500
    code: str = "internal_error"
    title: str = "Something went wrong on our side."
    headers: Mapping[str, str] = {}

    def __init__(
        self,
        detail: str | None = None,
        *,
        retry_after: int | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail or self.title)
        self.detail = detail
        self.retry_after = retry_after
        self.extra = dict(extra or {})

    def document(self) -> dict[str, Any]:
        """The body of the response: RFC 9457 members, our ``code``, and this problem's own members."""
        document: dict[str, Any] = {
            **self.extra,
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "code": self.code,
        }
        if self.detail is not None:
            document["detail"] = self.detail
        if self.retry_after is not None:
            document["retry_after"] = self.retry_after
        return document

    def response_headers(self) -> dict[str, str]:
        """The headers of the response, such as Retry-After."""
        headers = dict(self.headers)
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        return headers


class InvalidJson(Problem):
    """The body is not one JSON text in UTF-8, or is nested too deeply."""

    status, code, title = 400, "invalid_json", "The body is not valid JSON."


class AmbiguousLength(Problem):
    """The body has a Content-Length and a transfer coding: proxies may disagree where it ends (RFC 9112, 6.1)."""

    status, code, title = 400, "ambiguous_length", "The length of the body is given in two ways."
    headers: Mapping[str, str] = {"Connection": "close"}


class Unauthenticated(Problem):
    """The caller is not identified."""

    status = 401
    headers: Mapping[str, str] = {"WWW-Authenticate": "Bearer"}


class TokenMissing(Unauthenticated):
    """The route needs a bearer token and the request has none."""

    code, title = "token_missing", "A bearer token is required."


class TokenInvalid(Unauthenticated):
    """The token is malformed, forged, or made for another audience."""

    code, title = "token_invalid", "The bearer token is not valid here."


class TokenExpired(Unauthenticated):
    """The token has expired."""

    code, title = "token_expired", "The bearer token has expired."


class TokenRevoked(Unauthenticated):
    """The contact was signed out, or the space that issued the token revoked all of its tokens."""

    code, title = "token_revoked", "The bearer token has been revoked."


class ApiKeyInvalid(Unauthenticated):
    """The API key is malformed, unknown or revoked."""

    code, title = "api_key_invalid", "The API key is not valid here."


class ApiKeyExpired(Unauthenticated):
    """The API key has expired."""

    code, title = "api_key_expired", "The API key has expired."


class SecretInvalid(Unauthenticated):
    """The shared secret is missing or wrong, or belongs to an object that does not exist: one error for all three."""

    code, title = "secret_invalid", "The secret is not valid here."


class TimestampInvalid(Unauthenticated):
    """The timestamp of a signed delivery is missing, or too far from our clock."""

    code, title = "timestamp_invalid", "The delivery's timestamp is missing or too far from the present."


class Forbidden(Problem):
    """The caller may not do this."""

    status, code, title = 403, "forbidden", "You may not do this."


class OriginNotAllowed(Forbidden):
    """The space does not list the page's origin."""

    code, title = "origin_not_allowed", "This origin may not use the space."


class NotFound(Problem):
    """No object that the caller may see has this id; ``code`` names the kind of object."""

    status, code, title = 404, "not_found", "Not found."

    def __init__(self, noun: str | None = None) -> None:
        if noun is not None:
            self.code = f"{noun}_not_found"
            self.title = TITLES.get(self.code, f"There is no such {noun.replace('_', ' ')}.")
        super().__init__()


class MethodNotAllowed(Problem):
    """The path exists, but not with this method; ``Allow`` lists its methods."""

    status, code, title = 405, "method_not_allowed", "The method is not allowed here."

    def __init__(self, allowed: Sequence[str]) -> None:
        super().__init__()
        self._allowed = sorted(allowed)

    def response_headers(self) -> dict[str, str]:
        """The Allow header (RFC 9110)."""
        return {"Allow": ", ".join(self._allowed)}


class BodyTimeout(Problem):
    """The body did not arrive in time. It was not read to its end, so the connection closes."""

    status, code, title = 408, "body_timeout", "The body did not arrive in time."
    headers: Mapping[str, str] = {"Connection": "close"}


class BodyTooLarge(Problem):
    """The body exceeds the route's limit. It was not read to its end, so the connection closes."""

    status, code, title = 413, "body_too_large", "The body is too large."
    headers: Mapping[str, str] = {"Connection": "close"}


class UnsupportedMediaType(Problem):
    """The body is not declared as application/json in UTF-8, or it is compressed."""

    status, code, title = 415, "unsupported_media_type", "The body's type or encoding is not accepted."


class InvalidBody(Problem):
    """The body is JSON, but does not fit the route's model; ``errors`` lists the fields.

    ``part`` of the request: a query or a path can be as wrong as a body.
    """

    status, code, title = 422, "invalid_body", "The body is not valid for this route."

    def __init__(self, errors: Sequence[FieldError], part: Literal["body", "query", "path"] = "body") -> None:
        faults = [f"{e.field}: {e.message}" if e.field else e.message for e in errors]
        super().__init__(
            "; ".join(faults[:_MOST_FAULTS]) or None,
            extra={"errors": [e.document() for e in errors]},
        )
        self.errors = tuple(errors)
        self.title = f"The {part} is not valid for this route."


class Refused(Problem):
    """The database refused the command and counted the refusal. Status, code, title, headers and extra come from it."""

    def __init__(
        self,
        status: int,
        code: str,
        *,
        title: str | None = None,
        detail: str | None = None,
        retry_after: int | None = None,
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status, self.code = status, code
        self.headers = dict(headers or {})
        self.title = title or TITLES.get(code) or HTTPStatus(status).phrase
        super().__init__(detail, retry_after=retry_after, extra=extra)


class Moved(Problem):
    """The object in the path has another id now; ``Location`` is the same path with that id.

    ``parameter`` is the path parameter that holds the old id.
    """

    status, code, title = 307, "contact_merged", "The contact was merged into another."

    def __init__(self, standing_id: str) -> None:
        super().__init__(detail(self.code, standing_id), extra={"contact_id": standing_id})
        self.parameter, self.standing_id = "contact_id", standing_id


class InternalError(Problem):
    """An unexpected error. Its cause is in the log under the response's X-Request-Id, never in the response."""


class ArchiveBroken(Problem):
    """An object of the archive is missing, or is not what was recorded. The log has which one."""

    code, title = "archive_broken", "The archive of the session is missing or damaged."


class BackendUnavailable(Problem):
    """The database or a proxy in front of it is unavailable; the request may be sent again."""

    status, code, title = 503, "backend_unavailable", "The service is not available at the moment."

    def __init__(self, reason: str | None = None) -> None:
        """``reason`` is not shown to the caller: a code of what is unavailable, for operators."""
        super().__init__(retry_after=1)
        self.reason = reason


TITLES: Mapping[str, str] = {
    "count_not_allowed": "This kind of count is not available.",
    "api_key_not_found": "There is no such API key.",
    "user_required": "Only a signed-in user may do this, not an API key.",
    "job_not_found": "There is no such job.",
    "archive_not_found": "The session has no archive.",
    "archive_changed": "The session's archive is being written anew. Try again later.",
    "event_subscription_not_found": "There is no such event subscription.",
    "export_not_found": "There is no such export.",
    "export_failed": "The export could not be made.",
    "archive_not_configured": "This deployment has no object store.",
    "event_delivery_not_found": "There is no such event delivery.",
    "space_in_use": "The space is in use.",
    "persona_in_use": "The persona is in use.",
    "wrong_name": "The workspace has another name.",
    "persona_unavailable": "The persona is not available at the moment.",
    "turn_in_progress": "The previous message of the conversation is still being answered.",
    "rate_limited": "Too many requests.",
    "too_many_streams": "Too many streams are open.",
    "space_not_found": "There is no such space.",
    "persona_not_found": "There is no such persona.",
    "channel_not_found": "There is no such channel.",
    "channel_not_connectable": "Channels of this kind are set up at the sender; there is nothing to connect.",
    "channel_incomplete": "The channel is not set up completely.",
    "external_id_differs": "The token belongs to another bot, number or application than the channel.",
    "provider_refused": "The provider refused the call.",
    "provider_unreachable": "The provider cannot be reached now.",
    "address_refused": "The address of the provider's API is not allowed.",
    "provider_not_found": "There is no such provider.",
    "external_id_taken": "Another channel has this external id.",
    "workspace_not_found": "There is no such workspace.",
    "user_not_found": "There is no such user.",
    "member_not_found": "There is no such member.",
    "invitation_not_found": "There is no such open invitation.",
    "forbidden": "You may not do this.",
    "last_owner": "A workspace keeps at least one owner.",
    "member_exists": "This user is a member with another role.",
    "already_member": "This user is a member already.",
    "too_many_event_subscriptions": "A workspace has at most 20 event subscriptions.",
    "id_taken": "The id belongs to another object.",
    "name_taken": "The name belongs to another object.",
    "template_not_found": "There is no such session template.",
    "answer_template_not_found": "There is no such answer template.",
    "shortcut_taken": "The shortcut belongs to another answer template.",
    "step_not_allowed": "The workflow does not allow this step here.",
    "conversation_not_found": "There is no such conversation.",
    "turn_not_found": "There is no such turn.",
    "session_not_found": "There is no such session.",
    "contact_not_found": "There is no such contact.",
    "message_not_found": "There is no such message.",
    "request_not_found": "There is no such request.",
    "quote_not_found": "There is no such quote.",
    "memory_not_found": "There is no such memory.",
    "memory_superseded": "The memory was corrected before.",
    "ref_not_found": "There is no such reference.",
    "workflow_not_found": "There is no such workflow.",
    "transition_not_found": "There is no such transition.",
    "too_many_transitions": "The workspace has too many transitions.",
    "workspace_required": "A workspace must be named.",
    "persona_required": "A persona must be named.",
    "group_not_found": "There is no such group.",
    "group_in_group": "A group cannot be a participant of a group.",
    "conflict_not_found": "There is no such conflict.",
    "erasure_not_found": "There is no such erasure.",
    "erasure_salt_differs": "The workspace has erased contacts since the backup was restored: replay erasures first.",
    "contact_merged": "The contact was merged into another.",
    "same_contact": "Both are the same contact.",
    "already_merged": "The contact is already merged.",
    "not_merged": "The contact is not merged.",
    "merged_further": "The merge target was merged itself.",
    "kinds_differ": "A person and a group cannot be merged.",
    "identity_conflict": "These identities belong to different contacts.",
    "thread_key_not_allowed": "A thread key cannot be used here.",
    "email_hmac_invalid": "The HMAC does not match the email.",
    "identity_token_required": "The space takes an identity token, not an HMAC.",
    "identity_token_invalid": "The identity token is not valid here.",
    "identity_token_expired": "The identity token has expired.",
    "transition_not_allowed": "The current state does not allow this.",
    "taken_over": "Another member has taken the session over.",
    "not_taken_over": "No member has taken the session over.",
    "proof_required": "The person in this session has not proven who they are.",
    "idempotency_key_reused": "The id was used for another message.",
    "device_session_not_found": "There is no such device session.",
    "device_link_not_found": "There is no such device link.",
    "device_session_linked": "The session is linked already.",
    "claim_code_required": "This session is linked with a claim code.",
}
"""Titles of the codes that the database raises or returns."""

DETAILS: Mapping[str, str] = {
    "proof_required": "A session without proof continues no request of another conversation.",
    "idempotency_key_reused": "A repeated client_message_id carries the same message; another message needs a new id.",
    "contact_merged": "The contact was merged into {fact}.",
    "already_merged": "The contact was merged into {fact}.",
    "merged_further": "The contact was merged into {fact}, which was merged itself. Undo that merge first.",
    "memory_superseded": "Memory {fact} corrects it.",
    "external_id_differs": "Clear the channel's external_id to connect it to the token's bot, number or application.",
    "persona_in_use": "A space, a channel or a session template uses the persona, or it has conversations. Assign "
    "another persona to them, and disable this one.",
    "space_in_use": "The space has active or paused sessions. Disable the space, and delete it when they have ended.",
    "claim_code_required": "A session id that can be guessed, or that is a device's uid, links nothing.",
    "too_many_transitions": "A workspace has at most 1,000 transitions of its own.",
}
"""Details by code; ``fact`` is what the database adds, such as an id."""

REASONS: Mapping[str, str] = {
    "attributes_too_large": "The attributes would have more than 16,384 bytes as JSON.",
    "collecting_per_message": "With the session policy per_message, collect_seconds is 0.",
    "contact_not_assigned": "The contact's session is not assigned to you.",
    "email_required": "email is required, or identity_token, or the token of a proven contact.",
    "email_not_confirmed": "No user has confirmed this email.",
    "exact_count_only": "Only count=exact is available.",
    "expiry_in_the_past": "expires_at must be in the future.",
    "first_step_without_workflow": "A workflow and its first step are given together.",
    "follow_up_role": "A follow-up has the role contact, member or persona.",
    "ingest_key": "An API key for ingest registers, resolves, captures and sends messages only.",
    "identities_of_other_kind": "A person's identities and a group's cannot be one contact's.",
    "job_running": "A running job cannot be changed until its attempt has ended.",
    "job_succeeded": "A job that has succeeded is neither replayed nor discarded.",
    "max_age_hours_too_small": "max_age_hours must be at least 1.",
    "members_only": "Only members may do this.",
    "name_of_other_kind": "A person has first_name and last_name, a group has a title.",
    "import_row_invalid": "A row of the batch does not fit: send fewer items at a time to find it.",
    "not_a_first_step": "The workflow does not begin with this step.",
    "no_live_session": "The conversation has no active or paused session.",
    "not_a_session_of_contact": "The contact has no such session.",
    "operators_only": "Only operators may do this.",
    "owners_and_admins_only": "Only owners and admins may do this.",
    "own_fallback": "A persona is not its own fallback.",
    "owners_only": "Only owners may do this.",
    "sender_is_group": "A message comes from a person, not from a group.",
    "session_members_only": "Only members who work on the session may do this.",
    "several_workspaces": "You are a member of several workspaces: name one with workspace_id.",
    "status_not_settable": "A session can be paused, resumed, completed, failed or cancelled.",
    "status_not_terminal": "A turn cannot be finished as active.",
    "thread_key_needs_proof": "A thread key needs proof of identity.",
    "thread_key_reserved": "A thread key must not begin with arrival:, first: or import:.",
    "token_for_one_conversation": "A contact token is for one conversation.",
    "token_signature": "The signature was not made with the space's secret.",
    "too_many_tags": "At most 100 tags are stored.",
    "too_many_sessions": "At most 100 sessions can be changed at once.",
    "workflow_state_too_large": "The state of a workflow is limited to 65,536 characters of JSON.",
    "turns_by_members": "Only members write memories of the kind turn.",
    "workspace_not_named": "Name the workspace with workspace_id.",
}
"""Details by the reason that the database gives with a code."""

IDENTITY_TOKEN_FAULTS: Mapping[str, str] = {
    "algorithm": "An identity token is signed with HS256, without critical extensions.",
    "audience": "aud does not name this space.",
    "early": "iat or nbf is in the future.",
    "email": "email must be an email address.",
    "email_unverified": "email_verified is false: leave the email out.",
    "expiry": "exp is required, and at most an hour ahead.",
    "malformed": "An identity token is a JWT: three parts in base64url without padding, with JSON objects.",
    "names_no_person": "sub or email is required.",
    "subject": "sub must be a text of 1 to 396 characters, without invisible ones and without blanks around it.",
    "times": "exp, iat and nbf are seconds since 1970.",
}
"""Details of identity_token_invalid, by the fault that is found before the database checks the signature."""


def detail(code: str, fact: str | None) -> str | None:
    """The sentence for a code and for the reason or fact that the database gives with it; None if there is none."""
    if fact is not None and fact in REASONS:
        return REASONS[fact]
    template = DETAILS.get(code)
    return template and template.format(fact=fact)


@dataclass(frozen=True)
class Failure:
    """How a failed turn is shown: a title for people, and whether a retry may succeed."""

    title: str
    retryable: bool


FAILURES: Mapping[str, Failure] = {
    "persona_unreachable": Failure("The persona cannot be reached.", retryable=True),
    "persona_timeout": Failure("The persona took too long.", retryable=True),
    "persona_refused": Failure("The persona refused to answer.", retryable=False),
    "persona_input_refused": Failure("The persona cannot process this message.", retryable=False),
    "persona_declined": Failure("The persona declined to answer this.", retryable=False),
    "persona_bad_answer": Failure("The persona's answer could not be read.", retryable=True),
    "persona_failed": Failure("The persona failed while answering.", retryable=True),
    "persona_cut_off": Failure("The answer broke off.", retryable=True),
    "persona_too_large": Failure("The answer is too long.", retryable=False),
    "persona_address_refused": Failure("The persona's address is not allowed.", retryable=False),
    "persona_misconfigured": Failure("The persona is not set up correctly.", retryable=False),
    "lease_expired": Failure("The answer was interrupted.", retryable=True),
    "turn_interrupted": Failure("The answer was interrupted.", retryable=True),
    "failed_by_member": Failure("A member has ended the session as failed.", retryable=False),
    "stream_limit": Failure("The stream has reached its time limit; reconnect.", retryable=True),
    "token_expired": Failure("The token has expired.", retryable=False),
    "token_revoked": Failure("The token has been revoked.", retryable=False),
    "api_key_invalid": Failure("The API key is not valid any more.", retryable=False),
    "api_key_expired": Failure("The API key has expired.", retryable=False),
    "conversation_not_found": Failure("There is no such conversation.", retryable=False),
    "workspace_not_found": Failure("There is no such workspace.", retryable=False),
    "backend_unavailable": Failure("The service is not available at the moment.", retryable=True),
    "internal_error": Failure("Something went wrong on our side.", retryable=True),
}
"""The failures that an ``error`` event can report, by code."""


def failure(code: str | None) -> Failure:
    """The failure of a code, also of a refusal, which ends a stream; an unknown code is shown as an internal error."""
    known = code or ""
    if known in TITLES and known not in FAILURES:
        return Failure(TITLES[known], retryable=False)
    return FAILURES.get(known, FAILURES["internal_error"])


class FailureData(TypedDict):
    """A turn has failed, or a stream has ended early. The message and the answer so far are stored."""

    code: str
    title: str
    retryable: bool


def failure_document(code: str) -> FailureData:
    """The data of an ``error`` event."""
    shown = failure(code)
    return {"code": code, "title": shown.title, "retryable": shown.retryable}
