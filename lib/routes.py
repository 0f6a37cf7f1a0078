"""The route table: which function answers which path, and for which callers.

It is the single source for the functions, the local gateway, and the deployment in front of them.
"""

from dataclasses import dataclass
from typing import Literal

CallerKind = Literal["anyone", "contact", "user", "provider", "cron"]
Credential = Literal["ticket", "cookie"]
Origins = Literal["space", "any", "none"]


@dataclass(frozen=True)
class Route:
    """One path of one function. ``name`` is unique; ``path`` is Starlette's notation."""

    function: str
    name: str
    method: str
    path: str
    callers: tuple[CallerKind, ...]
    streaming: bool = False
    credentials: tuple[Credential, ...] = ()
    """What may identify the caller instead of a bearer token: a stream ticket in ?sid=, a user's token in the cookie
    sid."""

    @property
    def origins(self) -> Origins:
        """The web origins that may call: those that the space lists, any (a token decides), or none (no browser)."""
        if self.path.startswith(("/space/", "/landing/")):
            return "space"
        if set(self.callers) <= {"provider", "cron"}:
            return "none"
        return "any"


CHAT_STREAM = "/space/{space_id}/chat/stream/{chat_id}/stream"
"""The URL at which useChat of the AI SDK resumes a chat: its POST URL, the chat's id, "stream"."""

ROUTES: tuple[Route, ...] = (
    Route("registration", "register_in_space", "POST", "/space/{space_id}/register", ("anyone",)),
    Route("registration", "register_on_landing", "POST", "/landing/{app_id}/register", ("anyone",)),
    Route("chat", "stream_chat", "POST", "/space/{space_id}/chat/stream", ("anyone", "contact", "user"), True),
    Route("chat", "resume_chat", "GET", CHAT_STREAM, ("anyone", "contact", "user"), True),
    Route(
        "chat", "stream_chat_on_landing", "POST", "/landing/{app_id}/chat/stream", ("anyone", "contact", "user"), True
    ),
    Route(
        "chat",
        "resume_chat_on_landing",
        "GET",
        "/landing/{app_id}/chat/stream/{chat_id}/stream",
        ("anyone", "contact", "user"),
        True,
    ),
    Route("chat", "ask_persona", "POST", "/personas/{persona_id}/messages", ("user",), True),
    Route("chat", "resume_turn", "GET", "/turns/{turn_id}/stream", ("contact", "user"), True, ("ticket",)),
    Route("chat", "cancel_turn", "POST", "/turns/{turn_id}/cancel", ("contact", "user")),
    Route("chat", "retry_turn", "POST", "/turns/{turn_id}/retry", ("contact", "user"), True),
    Route("chat", "look", "GET", "/space/{space_id}/look", ("anyone",)),
    Route("chat", "widget", "GET", "/widget.js", ("anyone",)),
    Route("chat", "read_description", "GET", "/openapi.json", ("anyone",)),
    Route("chat", "read_reference", "GET", "/docs", ("anyone",)),
    Route("chat", "read_reference_file", "GET", "/docs/{file}", ("anyone",)),
    Route("sessions", "list_sessions", "GET", "/chat-sessions", ("contact", "user")),
    Route("sessions", "start_session", "POST", "/chat-sessions", ("contact", "user")),
    Route("sessions", "clean_up_sessions", "POST", "/chat-sessions/cleanup", ("user", "cron")),
    Route("sessions", "change_sessions", "POST", "/chat-sessions/bulk-status", ("contact", "user")),
    Route("sessions", "read_statistics", "GET", "/chat-sessions/stats", ("user",)),
    Route("sessions", "read_session", "GET", "/chat-sessions/{session_id}", ("contact", "user")),
    Route("sessions", "pause_session", "PATCH", "/chat-sessions/{session_id}/pause", ("user",)),
    Route("sessions", "resume_session", "PATCH", "/chat-sessions/{session_id}/resume", ("user",)),
    Route("sessions", "complete_session", "PATCH", "/chat-sessions/{session_id}/complete", ("user",)),
    Route("sessions", "fail_session", "PATCH", "/chat-sessions/{session_id}/fail", ("user",)),
    Route("sessions", "cancel_session", "PATCH", "/chat-sessions/{session_id}/cancel", ("contact", "user")),
    Route(
        "sessions",
        "list_conversation_sessions",
        "GET",
        "/conversations/{conversation_id}/chat-sessions",
        ("contact", "user"),
    ),
    Route("sessions", "create_or_update_session", "PUT", "/chat-sessions", ("user",)),
    Route("sessions", "list_active_sessions", "GET", "/chat-sessions/active", ("contact", "user")),
    Route("sessions", "change_workflow", "PATCH", "/chat-sessions/{session_id}/workflow", ("user",)),
    Route("sessions", "set_request", "PUT", "/chat-sessions/{session_id}/request", ("user",)),
    Route("sessions", "remove_ref", "DELETE", "/chat-sessions/{session_id}/refs/{ref_id}", ("user",)),
    Route("sessions", "set_quote", "PUT", "/chat-sessions/{session_id}/quotes/{operator}", ("user",)),
    Route("sessions", "set_proposal", "PUT", "/chat-sessions/{session_id}/proposal", ("user",)),
    Route("sessions", "note_activity", "POST", "/chat-sessions/{session_id}/activity", ("user",)),
    Route(
        "sessions",
        "read_active_session",
        "GET",
        "/conversations/{conversation_id}/chat-sessions/active",
        ("contact", "user"),
    ),
    Route("sessions", "read_session_of_request", "GET", "/requests/{request_id}/chat-session", ("contact", "user")),
    Route("sessions", "list_sessions_of_trip", "GET", "/trips/{trip_id}/chat-sessions", ("user",)),
    Route("sessions", "recover_session", "POST", "/chat-sessions/{session_id}/recover", ("contact", "user")),
    Route("sessions", "take_over_session", "POST", "/chat-sessions/{session_id}/takeover", ("user",)),
    Route("sessions", "hand_back_session", "POST", "/chat-sessions/{session_id}/handback", ("user",)),
    Route("sessions", "say_in_session", "POST", "/chat-sessions/{session_id}/messages", ("user",)),
    Route("sessions", "assign_session", "PATCH", "/chat-sessions/{session_id}/assign", ("user",)),
    Route(
        "conversations",
        "stream_conversation",
        "GET",
        "/conversations/{conversation_id}/stream",
        ("contact", "user"),
        True,
        ("ticket", "cookie"),
    ),
    Route(
        "conversations",
        "list_messages",
        "GET",
        "/conversations/{conversation_id}/messages",
        ("contact", "user"),
        credentials=("cookie",),
    ),
    Route("conversations", "tell_presence", "PUT", "/conversations/{conversation_id}/presence", ("user",)),
    Route("conversations", "mark_read", "PUT", "/conversations/{conversation_id}/read", ("user",)),
    Route(
        "conversations",
        "read_current_conversation",
        "GET",
        "/conversations/current",
        ("user",),
        credentials=("cookie",),
    ),
    Route(
        "conversations",
        "stream_current_conversation",
        "GET",
        "/conversations/current/stream",
        ("user",),
        True,
        ("ticket", "cookie"),
    ),
    Route(
        "conversations",
        "stream_workspace",
        "GET",
        "/workspaces/{workspace_id}/stream",
        ("user",),
        True,
        ("ticket", "cookie"),
    ),
    Route("conversations", "issue_stream_ticket", "POST", "/stream-tickets", ("contact", "user")),
    Route("conversations", "link_session", "POST", "/sessions/link", ("user",), credentials=("cookie",)),
    Route("contacts", "resolve_contact", "POST", "/admin/contacts/resolve", ("user",)),
    Route("contacts", "list_contacts", "GET", "/contacts", ("user",)),
    Route("contacts", "create_contact", "POST", "/contacts", ("user",)),
    Route("contacts", "read_contact", "GET", "/contacts/{contact_id}", ("user",)),
    Route("contacts", "change_contact", "PATCH", "/contacts/{contact_id}", ("user",)),
    Route("contacts", "erase_contact", "DELETE", "/contacts/{contact_id}", ("user",)),
    Route("contacts", "list_erasures", "GET", "/erasures", ("user",)),
    Route("contacts", "read_erasure", "GET", "/erasures/{erasure_id}", ("user",)),
    Route("contacts", "check_erasure", "POST", "/erasures/{erasure_id}/check", ("user",)),
    Route("contacts", "read_activity", "GET", "/contacts/{contact_id}/activity", ("user",)),
    Route("contacts", "capture_message", "POST", "/contacts/{contact_id}/messages", ("user",)),
    Route("contacts", "sign_out", "POST", "/contacts/{contact_id}/sign-out", ("user",)),
    Route("contacts", "read_journey", "GET", "/contacts/{contact_id}/journey", ("user",)),
    Route("contacts", "merge_contact", "POST", "/contacts/{contact_id}/merge", ("user",)),
    Route("contacts", "unmerge_contact", "POST", "/contacts/{contact_id}/unmerge", ("user",)),
    Route("contacts", "list_conflicts", "GET", "/contacts/conflicts", ("user",)),
    Route("contacts", "dismiss_conflict", "POST", "/contacts/conflicts/{conflict_id}/dismiss", ("user",)),
    Route("contacts", "tag_contact", "PUT", "/contacts/{contact_id}/tags", ("user",)),
    Route("contacts", "add_contact_tag", "PUT", "/contacts/{contact_id}/tags/{tag}", ("user",)),
    Route("contacts", "remove_contact_tag", "DELETE", "/contacts/{contact_id}/tags/{tag}", ("user",)),
    Route("contacts", "tag_session", "PUT", "/chat-sessions/{session_id}/tags", ("user",)),
    Route("contacts", "add_session_tag", "PUT", "/chat-sessions/{session_id}/tags/{tag}", ("user",)),
    Route("contacts", "remove_session_tag", "DELETE", "/chat-sessions/{session_id}/tags/{tag}", ("user",)),
    Route("memory", "remember", "POST", "/memories", ("contact", "user")),
    Route("memory", "recall", "POST", "/memories/recall", ("contact", "user")),
    Route("memory", "list_memories", "GET", "/memories", ("contact", "user")),
    Route("memory", "list_turn_memories", "GET", "/turns/{turn_id}/memories", ("user",)),
    Route("memory", "forget_memory", "DELETE", "/memories/{memory_id}", ("contact", "user")),
    Route("workspaces", "create_workspace", "POST", "/workspaces", ("user",)),
    Route("workspaces", "list_workspaces", "GET", "/workspaces", ("user",)),
    Route("workspaces", "read_workspace", "GET", "/workspaces/{workspace_id}", ("user",)),
    Route("workspaces", "change_workspace", "PATCH", "/workspaces/{workspace_id}", ("user",)),
    Route("workspaces", "set_allowed_networks", "PUT", "/workspaces/{workspace_id}/allowed-networks", ("user",)),
    Route("workspaces", "list_turn_errors", "GET", "/workspaces/{workspace_id}/turn-errors", ("user",)),
    Route("workspaces", "examine_workspace", "GET", "/workspaces/{workspace_id}/doctor", ("user",)),
    Route("workspaces", "list_webhook_deliveries", "GET", "/workspaces/{workspace_id}/webhook-deliveries", ("user",)),
    Route("workspaces", "read_retention", "GET", "/workspaces/{workspace_id}/retention", ("user",)),
    Route("workspaces", "set_retention", "PUT", "/workspaces/{workspace_id}/retention", ("user",)),
    Route("workspaces", "preview_retention", "POST", "/workspaces/{workspace_id}/retention/preview", ("user",)),
    Route("workspaces", "delete_workspace", "DELETE", "/workspaces/{workspace_id}", ("user",)),
    Route("workspaces", "list_members", "GET", "/workspaces/{workspace_id}/members", ("user",)),
    Route("workspaces", "set_member", "PUT", "/workspaces/{workspace_id}/members/{user_id}", ("user",)),
    Route("workspaces", "remove_member", "DELETE", "/workspaces/{workspace_id}/members/{user_id}", ("user",)),
    Route("workspaces", "list_api_keys", "GET", "/workspaces/{workspace_id}/api-keys", ("user",)),
    Route("workspaces", "create_api_key", "POST", "/workspaces/{workspace_id}/api-keys", ("user",)),
    Route("workspaces", "revoke_api_key", "DELETE", "/workspaces/{workspace_id}/api-keys/{key_id}", ("user",)),
    Route("workspaces", "list_invitations", "GET", "/workspaces/{workspace_id}/invitations", ("user",)),
    Route("workspaces", "invite_member", "POST", "/workspaces/{workspace_id}/invitations", ("user",)),
    Route(
        "workspaces",
        "withdraw_invitation",
        "DELETE",
        "/workspaces/{workspace_id}/invitations/{invitation_id}",
        ("user",),
    ),
    Route("workspaces", "list_own_invitations", "GET", "/invitations", ("user",)),
    Route("workspaces", "accept_invitation", "POST", "/invitations/{invitation_id}/accept", ("user",)),
    Route("workspaces", "list_transitions", "GET", "/workspaces/{workspace_id}/workflow-transitions", ("user",)),
    Route("workspaces", "add_transition", "POST", "/workspaces/{workspace_id}/workflow-transitions", ("user",)),
    Route(
        "workspaces",
        "remove_transition",
        "DELETE",
        "/workspaces/{workspace_id}/workflow-transitions/{transition_id}",
        ("user",),
    ),
    Route("workspaces", "list_spaces", "GET", "/workspaces/{workspace_id}/spaces", ("user",)),
    Route("workspaces", "create_space", "POST", "/workspaces/{workspace_id}/spaces", ("user",)),
    Route("workspaces", "read_space", "GET", "/spaces/{space_id}", ("user",)),
    Route("workspaces", "change_space", "PATCH", "/spaces/{space_id}", ("user",)),
    Route("workspaces", "delete_space", "DELETE", "/spaces/{space_id}", ("user",)),
    Route("workspaces", "rotate_hmac_secret", "POST", "/spaces/{space_id}/hmac-secret", ("user",)),
    Route("workspaces", "remove_hmac_secret", "DELETE", "/spaces/{space_id}/hmac-secret", ("user",)),
    Route("workspaces", "list_personas", "GET", "/workspaces/{workspace_id}/personas", ("user",)),
    Route("workspaces", "create_persona", "POST", "/workspaces/{workspace_id}/personas", ("user",)),
    Route("workspaces", "read_persona", "GET", "/personas/{persona_id}", ("user",)),
    Route("workspaces", "change_persona", "PATCH", "/personas/{persona_id}", ("user",)),
    Route("workspaces", "delete_persona", "DELETE", "/personas/{persona_id}", ("user",)),
    Route("workspaces", "set_persona_secret", "PUT", "/personas/{persona_id}/secret", ("user",)),
    Route("workspaces", "remove_persona_secret", "DELETE", "/personas/{persona_id}/secret", ("user",)),
    Route("workspaces", "rotate_callback_secret", "POST", "/personas/{persona_id}/callback-secret", ("user",)),
    Route("workspaces", "remove_callback_secret", "DELETE", "/personas/{persona_id}/callback-secret", ("user",)),
    Route("workspaces", "list_channels", "GET", "/workspaces/{workspace_id}/channels", ("user",)),
    Route("workspaces", "create_channel", "POST", "/workspaces/{workspace_id}/channels", ("user",)),
    Route("workspaces", "read_channel", "GET", "/channels/{channel_id}", ("user",)),
    Route("workspaces", "change_channel", "PATCH", "/channels/{channel_id}", ("user",)),
    Route("workspaces", "delete_channel", "DELETE", "/channels/{channel_id}", ("user",)),
    Route("workspaces", "set_verify_secret", "PUT", "/channels/{channel_id}/verify-secret", ("user",)),
    Route("workspaces", "rotate_verify_secret", "POST", "/channels/{channel_id}/verify-secret", ("user",)),
    Route("workspaces", "set_channel_token", "PUT", "/channels/{channel_id}/token", ("user",)),
    Route("workspaces", "connect_channel", "POST", "/channels/{channel_id}/connect", ("user",)),
    Route("workspaces", "test_channel", "POST", "/channels/{channel_id}/test", ("user",)),
    Route("workspaces", "list_templates", "GET", "/workspaces/{workspace_id}/session-templates", ("user",)),
    Route("workspaces", "create_template", "POST", "/workspaces/{workspace_id}/session-templates", ("user",)),
    Route("workspaces", "read_template", "GET", "/session-templates/{template_id}", ("user",)),
    Route("workspaces", "change_template", "PATCH", "/session-templates/{template_id}", ("user",)),
    Route("workspaces", "remove_template", "DELETE", "/session-templates/{template_id}", ("user",)),
    Route("workspaces", "list_answer_templates", "GET", "/workspaces/{workspace_id}/answer-templates", ("user",)),
    Route("workspaces", "create_answer_template", "POST", "/workspaces/{workspace_id}/answer-templates", ("user",)),
    Route("workspaces", "change_answer_template", "PATCH", "/answer-templates/{answer_template_id}", ("user",)),
    Route("workspaces", "remove_answer_template", "DELETE", "/answer-templates/{answer_template_id}", ("user",)),
    Route("workspaces", "list_device_sessions", "GET", "/workspaces/{workspace_id}/device-sessions", ("user",)),
    Route("workspaces", "issue_device_session", "POST", "/workspaces/{workspace_id}/device-sessions", ("user",)),
    Route("workspaces", "transfer_device_session", "PATCH", "/device-sessions/{device_session_id}", ("user",)),
    Route("workspaces", "replace_claim_code", "POST", "/device-sessions/{device_session_id}/claim-code", ("user",)),
    Route("workspaces", "list_device_links", "GET", "/workspaces/{workspace_id}/device-links", ("user",)),
    Route("workspaces", "add_device_link", "POST", "/workspaces/{workspace_id}/device-links", ("user",)),
    Route("workspaces", "list_own_device_links", "GET", "/device-links", ("user",)),
    Route("workspaces", "change_device_link", "PATCH", "/device-links/{device_link_id}", ("user",)),
    Route(
        "workspaces",
        "list_event_subscriptions",
        "GET",
        "/workspaces/{workspace_id}/event-subscriptions",
        ("user",),
    ),
    Route(
        "workspaces",
        "create_event_subscription",
        "POST",
        "/workspaces/{workspace_id}/event-subscriptions",
        ("user",),
    ),
    Route("workspaces", "read_event_subscription", "GET", "/event-subscriptions/{event_subscription_id}", ("user",)),
    Route(
        "workspaces", "change_event_subscription", "PATCH", "/event-subscriptions/{event_subscription_id}", ("user",)
    ),
    Route(
        "workspaces", "remove_event_subscription", "DELETE", "/event-subscriptions/{event_subscription_id}", ("user",)
    ),
    Route(
        "workspaces",
        "rotate_signing_secret",
        "POST",
        "/event-subscriptions/{event_subscription_id}/secret",
        ("user",),
    ),
    Route(
        "workspaces", "test_event_subscription", "POST", "/event-subscriptions/{event_subscription_id}/test", ("user",)
    ),
    Route(
        "workspaces",
        "list_event_deliveries",
        "GET",
        "/event-subscriptions/{event_subscription_id}/deliveries",
        ("user",),
    ),
    Route("workspaces", "replay_event_delivery", "POST", "/event-deliveries/{event_delivery_id}/replay", ("user",)),
    Route("workspaces", "import_batch", "POST", "/workspaces/{workspace_id}/imports", ("user",)),
    Route("webhooks", "receive_delivery", "POST", "/webhooks/{provider}", ("provider",)),
    Route("webhooks", "receive_channel_delivery", "POST", "/webhooks/{provider}/{channel_id}", ("provider",)),
    Route("webhooks", "answer_challenge", "GET", "/webhooks/{provider}", ("provider",)),
    Route("webhooks", "answer_channel_challenge", "GET", "/webhooks/{provider}/{channel_id}", ("provider",)),
    Route("webhooks", "receive_omi_delivery", "POST", "/omi-webhook", ("provider",)),
    Route("mcp", "call_tools", "POST", "/mcp", ("user",), True),
    Route("archive", "archive_sessions", "POST", "/archive", ("user", "cron")),
    Route("archive", "read_archive", "GET", "/archive/{session_id}", ("contact", "user")),
    Route("archive", "restore_session", "POST", "/archive/{session_id}/restore", ("user",)),
    Route("archive", "export_contact", "GET", "/contacts/{contact_id}/export", ("user",), True),
    Route("archive", "export_session", "GET", "/chat-sessions/{session_id}/export", ("user",), True),
    Route("archive", "create_export", "POST", "/workspaces/{workspace_id}/exports", ("user",)),
    Route("archive", "list_exports", "GET", "/workspaces/{workspace_id}/exports", ("user",)),
    Route("archive", "read_export", "GET", "/exports/{export_id}", ("user",)),
    Route("archive", "read_export_file", "GET", "/exports/{export_id}/file", ("user",), True),
    Route("worker", "run_jobs", "POST", "/worker", ("cron",)),
    Route("worker", "list_jobs", "GET", "/jobs", ("user",)),
    Route("worker", "read_job", "GET", "/jobs/{job_id}", ("user",)),
    Route("worker", "replay_job", "POST", "/jobs/{job_id}/replay", ("user",)),
    Route("worker", "discard_job", "POST", "/jobs/{job_id}/discard", ("user",)),
)

FUNCTIONS: tuple[str, ...] = tuple(dict.fromkeys(route.function for route in ROUTES))


def of(function: str) -> tuple[Route, ...]:
    """The routes of one function, in the order of the table."""
    return tuple(route for route in ROUTES if route.function == function)
