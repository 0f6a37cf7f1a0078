"""The five documents that the product was asked for from, as tables of calls, each made as its document writes it.

A row names a helper or section of its document, the call, and what must come back. ``differs`` marks rows that are not
as their document says.
"""

from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from uuid import UUID

import aiohttp
import asyncpg
import pytest
import pytest_asyncio

from local.stack import Stack
from tests.e2e.calls import NONE, SOME, Caller, Other, Row
from tests.functions.conftest import add_workspace
from tests.functions.people import staff_of
from tests.standins import telegram
from tests.standins.avinode import ACCESS_TOKEN, API_TOKEN, Avinode
from tests.standins.n8n import N8n

SESSION, DETAILS = "/api/chat-sessions/{session}", "/rest/v1/session_details?id=eq.{session}&select="

CONTACTS = (
    Row("Registration endpoint", "POST /api/space/{space}/register", by="anonymous", status=201,
        body={"email": "ana@example.com", "firstName": "Ana", "lastName": "Lee"},
        back={"success": True, "contact.id": SOME, "session.id": SOME, "session.status": "active"},
        keep={"contact": "contact.id", "session": "session.id", "visitor": "token"}),
    Row("Contact with session", "GET /api/contacts/{contact}",
        back={"session_id": "{session}", "first_name": "Ana", "last_name": "Lee", "email": "ana@example.com"}),
    Row("getFunnelContactBySessionId", "GET /api/contacts?sessionId={session}", lists=["{contact}"]),
    Row("getFunnelContactBySessionId: null", "GET /api/contacts?sessionId={workspace}", lists=[]),
    Row("getFunnelContactByEmail", "GET /api/contacts?email=ana@example.com", lists=["{contact}"]),
    Row("Landing page: deduplication", "POST /api/landing/{landing}/register", {"email": " ANA@Example.com "},
        by="anonymous", status=201, back={"success": True, "contact_id": "{contact}", "session.id": Other("{session}")},
        differs="DESIGN: names in responses are snake_case (contactId)"),
    Row("Context type: landing page", "GET /api/chat-sessions?spaceId={landing}",
        back={"items.*.contact.id": ["{contact}"]}),
    Row("Context type: space", "GET /api/chat-sessions?spaceId={space}&contactId={contact}", lists=["{session}"]),
    Row("Chat stream: session found", "POST /api/space/{space}/chat/stream", {"message": "Hello"}, by="visitor",
        back={"turn.session_id": "{session}", "turn.contact_id": "{contact}", "done.status": "completed"}),
    Row("Chat stream: contact by email", "POST /api/space/{space}/chat/stream", by="anonymous",
        body={"message": "Hello", "email": "Ana@example.com"}, back={"turn.contact_id": "{contact}"}),
    Row("Link: never repointed", "GET /api/contacts/{contact}", back={"session_id": "{session}"}),
    Row("Insertion order: createFunnelContact", "POST /api/contacts",
        {"firstName": "Ben", "identities": ["email:ben@example.com"]},
        status=201, back={"session_id": NONE}, keep={"ben": "id"}),
    Row("Insertion order: contact without session", "GET /api/contacts?hasSession=false", lists=["{ben}"]),
    Row("Insertion order: then a session", "POST /api/landing/{landing}/chat/stream", by="anonymous",
        body={"message": "Hello", "email": "ben@example.com"}, back={"turn.contact_id": "{ben}"},
        keep={"bens": "turn.session_id"}),
    Row("linkFunnelContactToSession", "GET /api/contacts/{ben}", back={"session_id": "{bens}"}),
    Row("Analytics: contacts with chats", "GET /api/contacts?hasSession=true",
        back={"items.*.id": ("{contact}", "{ben}")}),
    Row("Use case: getContactJourney", "GET /api/contacts/{contact}/journey",
        back={"items.*.event": ("contact.created", "contact.registered", "session.first_message",
                                "session.last_message")}),
    Row("Use case: captureMessage", "POST /api/contacts/{contact}/messages", status=201,
        body={"sessionId": "{session}", "message": "You asked by email.", "role": "assistant"},
        back={"session_id": "{session}", "role": "persona", "text": "You asked by email."}),
    Row("Use case: getContactWithActivity", "GET /api/contacts/{contact}/activity",
        back={"id": "{contact}", "message_count": SOME, "last_activity_at": SOME}),
    Row("Related: tags of a contact", "PUT /api/contacts/{contact}/tags", {"tags": ["lead"]}, back={"tags": ["lead"]}),
    Row("Related: tags of a session", "PUT " + SESSION + "/tags", {"tags": ["lead"]}, back={"tags": ["lead"]}),
    Row("Typed joins", "GET /rest/v1/contact_details?id=eq.{contact}&select=session_details(id)",
        back={"items.0.session_details.*.id": ("{session}",)}),
    Row("Characteristics: nullable, set null", "select confdeltype::text as action, not attnotnull as nullable"
        " from pg_constraint join pg_attribute on attrelid = conrelid and attname = 'session_id'"
        " where conname = 'contacts_session_id_fkey'", back={"items": [{"action": "n", "nullable": True}]}),
    Row("Characteristics: indexed", "select indexname from pg_indexes where tablename = 'contacts'"
        " and indexdef ~ '[(](workspace_id, )?session_id'", back={"items.0.indexname": SOME}),
    Row("On delete", "delete from public.sessions where id = '{session}'", by="database"),
    Row("On delete: contact stays", "GET /api/contacts/{contact}", back={"id": "{contact}", "session_id": NONE}),
)  # fmt: skip

MANAGEMENT = (
    Row("Service integration: send a message", "POST /api/space/{workflow_space}/chat/stream", by="user",
        body={"message": "Hello, how are you?"}, back={"turn.session_id": SOME, "done.status": "completed"},
        keep={"session": "turn.session_id", "conversation": "turn.conversation_id"}),
    Row("Service integration: webhook payload", "n8n", back={
        "message": "Hello, how are you?", "conversationId": "{conversation}", "personaId": "{workflow}",
        "userId": SOME, "sessionId": "{session}"}),
    Row("Unique session for each message", "POST /api/space/{workflow_space}/chat/stream", {"message": "Again"},
        by="user", back={"turn.session_id": Other("{session}"), "turn.conversation_id": "{conversation}"}),
    Row("Status flow: successful response", "GET " + SESSION, by="user", back={"id": "{session}", "status": "completed",
        "persona.id": "{workflow}", "user_id": "{user}", "conversation_id": "{conversation}", "created_at": SOME,
        "ended_at": SOME, "last_activity_at": SOME, "error_message": NONE, "messages.*.role": ("persona",)}),
    Row("Metadata for members", "GET " + SESSION, back={"metadata.user_agent": SOME, "metadata.address": "127.0.0.1",
        "metadata.device_info": '"Chromium"'}),
    Row("Access control: another user", "GET " + SESSION, by="other_admin", status=404),
    Row("Status flow: webhook error", "POST /api/space/{failing_space}/chat/stream", {"message": "Hello"}, by="user",
        back={"error.code": "persona_failed"}, keep={"failed": "turn.session_id"}),
    Row("Error in the session", "GET /api/chat-sessions/{failed}", by="user",
        back={"status": "failed", "error_code": "persona_failed", "error_message": SOME,
              "timeline.*.event": ("session.created", "turn.failed")}),
    Row("Circuit breaker", "GET /api/personas/{failing}", back={"breaker.failures": 1}),
    Row("Recovery", "POST /api/chat-sessions/{failed}/recover", by="user", back={"status": "active", "changed": True}),
    Row("createChatSession", "POST /api/chat-sessions", {"spaceId": "{space}"}, by="user", status=201,
        back={"status": "active", "created": True}, keep={"live": "session_id", "talk": "conversation_id"}),
    Row("User's sessions", "GET /api/chat-sessions?status=ACTIVE&limit=50&offset=0", by="user",
        lists=["{live}", "{failed}"]),
    Row("Sessions of a conversation", "GET /api/conversations/{talk}/chat-sessions", by="user", lists=["{live}"]),
    Row("Only active ones", "GET /api/conversations/{conversation}/chat-sessions", by="user", lists=[]),
    Row("Cancel", "PATCH /api/chat-sessions/{live}/cancel", by="user",
        back={"status": "cancelled", "changed": True}, keep={"cancelled": "session_id"}),
    Row("updateChatSessionStatus", "POST /api/chat-sessions", {"spaceId": "{space}"}, by="user", status=201,
        keep={"live": "session_id"}),
    Row("updateChatSessionStatus", "PATCH /api/chat-sessions/{live}/fail", {"reason": "No reply in 10 seconds"},
        back={"status": "failed"}),
    Row("updateChatSessionStatus: error message", "GET /api/chat-sessions/{live}",
        back={"error_message": "No reply in 10 seconds"}),
    Row("Cleanup: an idle session", "POST /api/chat-sessions", {"spaceId": "{space}"}, by="user", status=201,
        keep={"idle": "session_id"}),
    Row("Cleanup: after 24 hours", "update public.sessions set last_activity_at = now() - interval '25 hours'"
        " where id = '{idle}'", by="database"),
    Row("Cleanup: as typed into curl", "POST /api/chat-sessions/cleanup", '{"maxAgeHours": 24}', back={"timed_out": 1}),
    Row("Cleanup: without a body", "POST /api/chat-sessions/cleanup", back={"timed_out": 0, "remaining": False}),
    Row("Cleanup: admins only", "POST /api/chat-sessions/cleanup", {"maxAgeHours": 24}, by="agent", status=403),
    Row("scheduleChatSessionCleanup", "select active is not null as scheduled from cron.job"
        " where jobname = 'switchboard-session-cleanup'", by="database", back={"items.*.scheduled": [True]}),
    Row("Bulk status updates", "POST /api/chat-sessions/bulk-status", by="admin",
        body={"sessionIds": ["{failed}"], "status": "COMPLETED"}, back={"items.*.status": ["completed"]}),
    *(Row(f"Status {status}", f"GET /api/chat-sessions?status={status}", by="user", back={"items.*.id": (session,)})
      for status, session in (("COMPLETED", "{session}"), ("CANCELLED", "{cancelled}"), ("FAILED", "{live}"),
                              ("TIMEOUT", "{idle}"))),
    Row("getChatSessionStats", "GET /api/chat-sessions/stats", by="user", back={"scope": "own", "active_now": 0,
        "sessions.total": 6, "sessions.by_status.timeout": 1, "sessions.by_status.failed": 1},
        differs="DESIGN: names and statuses are lower snake_case (byStatus.ACTIVE); figures are grouped"),
    Row("Statistics of a persona", "GET /api/chat-sessions/stats?personaId={workflow}", back={"scope": "workspace",
        "sessions.total": 2, "sessions.success_rate": 1, "response_ms.average": SOME}),
    Row("Failure distribution", "GET /api/chat-sessions/stats?personaId={failing}",
        back={"turns.failures.persona_failed": 1}),
    Row("Rate limiting", "POST /api/space/{space}/chat/stream", {"message": "Hello"}, by="user",
        back={"headers.ratelimit": SOME, "headers.ratelimit-policy": SOME}),
    Row("Audit", "select distinct verb from public.audit_events where object_id = '{live}'", by="database",
        back={"items.*.verb": ("session.failed",)}),
    *(Row(f"Columns of {view}", f"GET /rest/v1/{view}?limit=1&select={columns}", back={"items.#": 1})
      for view, columns in (
          ("session_details", "id,conversation_id,persona_id,user_id,status,created_at,ended_at,last_activity_at"),
          ("session_details", "metadata,error_message"),
          ("conversation_messages", "session_id"))),
    *(Row(f"Index for {columns}",
          f"select indexname from pg_indexes where tablename = 'sessions' and indexdef ~ '[(]{columns}'",
          back={"items.0.indexname": SOME})
      for columns in ("id[)]", "user_id, ", "conversation_id, status", "workspace_id, last_activity_at")),
    *(Row("Environment variables", call, back={"given": value, "default": value}) for call, value in (
        ("CHAT_SESSION_CLEANUP_INTERVAL=6", 6), ("CHAT_SESSION_TIMEOUT_HOURS=24", 24),
        ("ENABLE_CHAT_SESSIONS=true", True))),
    Row("Planned: templates", "POST /api/workspaces/{workspace}/session-templates", {"name": "Trip"}, status=201,
        back={"name": "Trip"}),
    Row("Planned: filters of several criteria",
        "GET /api/chat-sessions?status=TIMEOUT&personaId={persona}&userId={user}", lists=["{idle}"]),
    Row("Planned: export of a session", "GET /api/chat-sessions/{session}/export", by="owner", status=202,
        back={"status": "queued", "session_id": "{session}"}),
    Row("Privacy: a contact", "POST /api/contacts", {"first_name": "Ana"}, status=201, keep={"erased": "id"}),
    Row("Privacy: erasing", "DELETE /api/contacts/{erased}", back={"contact_id": "{erased}", "counts.contacts": 1}),
    Row("Planned: analytics dashboard", "GET /dashboard", by="anonymous", back={"page": SOME}),
)  # fmt: skip

TRIP = "atrip-64956150"
TRACKING = (
    Row("A conversation starts", "POST /space/{space}/register", {"email": "ana@example.com"}, by="anonymous",
        status=201, keep={"session": "session.id", "contact": "contact.id", "visitor": "token"}),
    Row("A conversation starts", "GET /chat-sessions/{session}", keep={"conversation": "conversation_id"}),
    Row("createOrUpdateChatSession", "PUT /chat-sessions", body={"conversation_id": "{conversation}",
        "status": "active", "current_step": "understanding_request", "workflow_state": {"seats": 4}},
        back={"session_id": "{session}", "workflow_step": "understanding_request", "workflow_state": {"seats": 4},
              "status": "active", "created": False}),
    Row("createOrUpdateChatSession: the agent", "PUT /chat-sessions",
        body={"conversation_id": "{conversation}", "iso_agent_id": "{agent_id}"}, back={"changed": True}),
    Row("The session's agent", "PATCH /chat-sessions/{session}/assign", {"user_id": "{agent_id}"},
        back={"changed": False}),
    Row("getActiveChatSession", "GET /conversations/{conversation}/chat-sessions/active",
        back={"id": "{session}", "workflow_step": "understanding_request"}),
    Row("Workflow progression", "PATCH /chat-sessions/{session}/workflow", {"current_step": "searching_aircraft"},
        back={"workflow_step": "searching_aircraft"}),
    Row("updateChatSessionWithTripInfo", "PUT /chat-sessions/{session}/request",
        body={"avinode_trip_id": TRIP, "avinode_rfp_id": "rfp-123",
        "current_step": "requesting_quotes", "workflow_state": {"legs": 2}}, keep={"request": "request.id"},
        back={"workflow_step": "requesting_quotes", "refs.*.external_id": (TRIP, "rfp-123"),
        "refs.*.kind": ("trip", "rfp")}),
    Row("updateChatSessionWithTripInfo: request, RFQ", "PUT /chat-sessions/{session}/request",
        {"request_id": "{request}", "avinode_rfq_id": "arfq-1"},
        back={"request.id": "{request}", "refs.*.kind": ("trip", "rfp", "rfq")}),
    Row("createOrUpdateChatSession: with a request", "PUT /chat-sessions", back={"request.id": "{request}"},
        body={"conversation_id": "{conversation}", "request_id": "{request}", "subject": "To Luton",
              "trip": {"origin": "LSZH", "destination": "EGGW", "departs_at": "2027-03-01T09:00:00Z"}}),
    Row("getChatSessionByRequest", "GET /requests/{request}/chat-session", back={"id": "{session}"}),
    Row("getChatSessionsByTripId", f"GET /trips/{TRIP}/chat-sessions", lists=["{session}"]),
    *(Row("Sessions of an RFP, an RFQ", f"GET /chat-sessions?external_id={external_id}", lists=["{session}"])
      for external_id in ("rfp-123", "arfq-1")),
    Row("updateChatSessionActivity", "POST /chat-sessions/{session}/activity",
        back={"changed": True, "last_activity_at": SOME}),
    Row("Status paused", "PATCH /chat-sessions/{session}/pause", back={"status": "paused"}),
    Row("Status paused", "GET /chat-sessions?status=paused", lists=["{session}"]),
    Row("Chat route: activity, and active again", "POST /space/{space}/chat/stream", {"message": "I am back"},
        by="visitor", back={"turn.session_id": "{session}"}),
    Row("Status active", "GET /chat-sessions/{session}", back={"status": "active"}),
    Row("Chat route", "POST /api/chat", {"message": "Hello"}, status=404, differs="DESIGN: a chat is in a space"),
    Row("updateChatSessionWithQuote: asked", "PUT /chat-sessions/{session}/quotes/jets", {"status": "REQUESTED"},
        back={"quote_counts.expected": 1}),
    Row("updateChatSessionWithQuote: received", "PUT /chat-sessions/{session}/quotes/acme",
        body={"status": "received", "amount": 12000,
        "currency": "EUR", "aircraft_type": "PC-24", "external_id": "quote-1", "primary": True},
        back={"quote_counts.received": 1, "quote_counts.expected": 2, "primary_quote.operator": "acme"}),
    Row("updateChatSessionWithQuote: counts", "PUT /chat-sessions/{session}/quotes/acme",
        {"quotes_received_count": 3, "quotes_expected_count": 5}, status=422,
        differs="DESIGN: counts are derived from the quotes, never set"),
    Row("Avinode webhook", "POST /api/webhooks/avinode", by="avinode", body={"id": "arfq-1000001", "type": "rfqs",
        "href": "{avinode}/api/rfqs/arfq-1000001", "tripId": "A1B2C3"}, back={"received": True, "duplicate": False}),
    Row("Quote reception: getChatSessionsByTripId", "GET /trips/A1B2C3/chat-sessions", lists=["{session}"]),
    Row("Quote reception: updateChatSessionWithQuote", "GET /chat-sessions/{session}",
        back={"quote_counts.received": 2, "quote_counts.expected": 3, "workflow_step": "requesting_quotes",
              "quotes.*.operator": ("Alpine Jets", "acme", "jets"), "refs.*.external_id": (TRIP, "A1B2C3")}),
    Row("Quote reception: in the journey", "GET /contacts/{contact}/journey",
        back={"items.*.event": ("quote.received",), "items.*.operator": ("Alpine Jets",)}),
    Row("getUserActiveChatSessions", "GET /chat-sessions/active", by="agent", lists=["{session}"]),
    Row("Query: active sessions of an agent",
        "GET /rest/v1/session_details?assigned_user_id=eq.{agent_id}&status=eq.active"
        "&order=last_activity_at.desc&select=id,subject,request_details(origin,destination,departs_at)", by="agent",
        back={"items.0.id": "{session}", "items.0.subject": "To Luton", "items.0.request_details.origin": "LSZH",
              "items.0.request_details.destination": "EGGW", "items.0.request_details.departs_at": SOME}),
    Row("Query: sessions of a trip", "GET /rest/v1/session_details?select=id,session_refs!inner(external_id)"
        f"&session_refs.external_id=eq.{TRIP}&order=last_activity_at.desc", lists=["{session}"]),
    Row("Query: sessions with quotes", "GET /chat-sessions?status=active&has_quote=true",
        back={"items.0.id": "{session}", "items.0.primary_quote.operator": "acme",
              "items.0.primary_quote.amount": 12000, "items.0.primary_quote.aircraft_type": "PC-24"}),
    Row("Query: count of active sessions", "GET /chat-sessions/stats",
        back={"active_now": SOME, "sessions.by_step.requesting_quotes": 1}),
    Row("Columns",
        "GET " + DETAILS + "id,conversation_id,request_id,assigned_user_id,status,primary_quote_id,proposal,created_at,"
        "ended_at,last_activity_at,workflow_step,workflow_state,message_count,quote_counts,metadata,updated_at",
        back={"items.#": 1}),
    Row("updateChatSessionWithProposal", "PUT /chat-sessions/{session}/proposal", {"status": "sent"},
        back={"proposal.status": "sent", "workflow_step": "proposal_ready"}),
    Row("completeChatSession", "PATCH /chat-sessions/{session}/complete", back={"status": "completed"}),
    Row("RLS: the contact's own", "GET /chat-sessions", by="visitor", lists=["{session}"]),
    Row("RLS: nothing for members", "GET " + DETAILS + "id", by="visitor", status=403),
    *(row for days, archived in ((89, []), (91, ["{session}"])) for row in (
        Row("Archive", f"update public.sessions set ended_at = now() - interval '{days} days' where id = '{{session}}'",
            by="database"),
        Row("archive_old_chat_sessions", "select archive_old_chat_sessions() as done", by="owner",
        back={"items.0.done.archived": SOME}),
        Row("Status archived", "GET /chat-sessions?status=archived", lists=archived))),
    Row("Archive: scheduled", "select schedule from cron.job where jobname = 'switchboard-archive'", by="database",
        back={"items.0.schedule": SOME}),
    Row("Archive: service role", "POST /rest/v1/rpc/archive_old_chat_sessions", {}, by="service",
        back={"archived": SOME}),
    Row("Archive: object storage", "POST /archive", {"workspaceId": "{workspace}"}, back={"remaining": False}),
    Row("Transcript archives", "GET /rest/v1/session_archives?session_id=eq.{session}&select=object_id,message_count",
        back={"items.#": 1, "items.0.object_id": SOME}),
    Row("Transcript of an archived session", "GET /archive/{session}",
        back={"session_id": "{session}", "location.object": SOME}),
    Row("Transcript: restored", "POST /archive/{session}/restore", {}, back={"status": "completed", "changed": True}),
)  # fmt: skip

OMI = "POST /omi-webhook?channel={channel}&secret={secret}"
SEGMENTS = [{"id": "s1", "text": "Good morning", "is_user": True, "start": 0, "end": 1}]
LIVE_CHAT = (
    Row("Current conversation: none yet", "GET /conversations/current", by="user",
        back={"ok": True, "conversation": NONE, "messages": []}),
    Row("Setup: a channel", "POST /api/workspaces/{workspace}/channels", status=201, keep={"channel": "id"},
        body={"kind": "omi", "name": "Omi", "personaId": "{persona}"}),
    Row("Setup: its secret", "POST /api/channels/{channel}/verify-secret", {}, keep={"secret": "secret"}),
    Row("OmiUserLink: verified", "POST /api/workspaces/{workspace}/device-links", status=201,
        body={"uid": "device-123", "userId": "{user}"}, back={"status": "verified", "user_id": "{user}"}),
    Row("Automatic linking", OMI, {"session_id": "session-123", "uid": "device-123", "segments": SEGMENTS},
        by="anonymous", back={"message": NONE}),
    Row("OmiSession: userId, lastSeenAt", "GET /rest/v1/device_sessions?external_id=eq.session-123", by="user",
        status=403, back={"code": "42501"}, differs="a query names its columns: the claim code's hash is hidden"),
    Row("OmiSession: userId, lastSeenAt", "GET /rest/v1/device_sessions?external_id=eq.session-123"
        "&select=user_id,last_segment_at,conversation_id", by="user", keep={"heard": "items.0.conversation_id"},
        back={"items.0.user_id": "{user}", "items.0.last_segment_at": SOME}),
    Row("OmiUserLink", "GET /rest/v1/device_links", by="user", back={"items.*.uid": ["device-123"]}),
    Row("Live updates: from the user's sessions", "GET /conversations/{heard}/messages", by="user",
        back={"items.*.text": ["Good morning"], "items.*.role": ["contact"]}),
    Row("Session ID: unknown to the device's user", OMI, by="anonymous",
        body={"session_id": "omi-{user}", "segments": SEGMENTS}),
    Row("Manual linking: apiLinkSession", "POST /sessions/link", {"session_id": "omi-{user}"}, by="user",
        back={"ok": True, "session.session_id": "omi-{user}", "session.user_id": "{user}"}),
    Row("Re-link if session expires", "POST /sessions/link", {"session_id": "omi-{user}"}, by="user",
        back={"ok": True}),
    Row("Link of another user", "POST /sessions/link", {"session_id": "omi-{user}"}, by="agent", status=409),
    Row("Manual linking: any id", "POST /sessions/link", {"session_id": "session-124"}, by="user", status=403,
        back={"code": "claim_code_required"}, differs="DESIGN: a bare id links only if nobody can guess it"),
    Row("Option C: pre-configured sessions", "POST /api/workspaces/{workspace}/device-sessions", status=201,
        body={"userId": "{user}"}, back={"user_id": "{user}", "claim_code": SOME}, keep={"issued": "session_id"}),
    Row("Option C: the device sends it", OMI, {"session_id": "{issued}", "segments": SEGMENTS}, by="anonymous"),
    Row("Option C: conversation of the user", "GET /rest/v1/device_sessions?external_id=eq.{issued}"
        "&select=conversation_id", by="user", back={"items.0.conversation_id": SOME}),
    Row("Messages not saved: jobs", "GET /jobs?status=dead", lists=[]),
    Row("Direct conversations", "POST /api/space/{space}/chat/stream", {"message": "Hello"}, by="user",
        keep={"conversation": "turn.conversation_id"}),
    Row("Current conversation", "GET /conversations/current", by="user",
        back={"ok": True, "conversation.id": "{conversation}", "messages.*.text": ("Hello",)}),
    Row("Stream live updates: a token", "POST /stream-tickets", {"conversation_id": "current"}, by="user", status=201,
        keep={"ticket": "ticket"}),
    Row("Stream live updates", "GET /conversations/current/stream?sid={ticket}", by="anonymous",
        back={"conversation.conversation_id": "{conversation}", "message.role": "persona"}),
    Row("Stream live updates: another token", "GET /conversations/current/stream?sid=token", by="anonymous",
        status=401),
    Row("Live updates: a user's own", "GET /rest/v1/conversations?user_id=eq.{user}&select=id", by="user",
        back={"items.*.id": ("{conversation}", "{heard}")}),
    Row("Live chat view", "GET /conversations/{conversation}/messages", by="user",
        back={"items.*.text": ("Hello",), "items.*.role": ("persona",)}),
)  # fmt: skip

ONE, TWO = {"platform": "telegram", "platformId": "42"}, {"platform": "telegram", "platformId": "43"}
RESOLVE = "POST /api/admin/contacts/resolve"
ISOLATION = (
    Row("Resolve: unknown, without create", RESOLVE, ONE, status=404, back={"code": "contact_not_found"}),
    Row("findOrCreateByPlatformId: created", RESOLVE, {**ONE, "create": True}, status=201,
        back={"created": True, "contact.kind": "person"},
        keep={"one": "contact.id"}, differs="DESIGN: a single sender is of kind person (external)"),
    Row("findOrCreateByPlatformId: found", RESOLVE, {**ONE, "create": True},
        back={"created": False, "contact.id": "{one}"}),
    Row("findOrCreateByPlatformId: another", RESOLVE, {**TWO, "create": True}, status=201,
        back={"contact.id": Other("{one}")},
        keep={"two": "contact.id"}),
    *(Row("findOrCreateByPlatformId: platforms", RESOLVE, {"platform": platform, "platformId": key, "create": True},
          status=201)
      for platform, key in (("whatsapp", "+4915112345678"), ("discord", "80351110224678912"))),
    Row("findOrCreateGroupContact", RESOLVE, {"platform": "telegram", "platformId": "-1001", "create": True},
        status=201,
        back={"contact.kind": "group"}),
    Row("Resolve: admins only", RESOLVE, ONE, by="agent", status=403),
    Row("Migration: nullable contact_id", "select not attnotnull as nullable from pg_attribute"
        " where attrelid = 'public.sessions'::regclass and attname = 'contact_id'", back={"items.*.nullable": [True]}),
    Row("Migration: composite index", "select indexname from pg_indexes where tablename = 'sessions'"
        " and indexdef ~ '[(]contact_id, persona_id'", back={"items.0.indexname": SOME}),
    Row("start_session: contactId", "POST /api/chat-sessions", {"contactId": "{one}", "personaId": "{persona}"},
        status=201, back={"contact_id": "{one}"}, keep={"first": "session_id"}),
    Row("Different contacts, different sessions", "POST /api/chat-sessions",
        {"contactId": "{two}", "personaId": "{persona}"}, status=201,
        back={"contact_id": "{two}", "session_id": Other("{first}")}, keep={"second": "session_id"}),
    Row("Same contact, same session", "POST /api/chat-sessions", {"contactId": "{one}", "personaId": "{persona}"},
        back={"session_id": "{first}", "created": False}),
    Row("getActiveSession", "GET /api/chat-sessions?contactId={one}&status=active", lists=["{first}"]),
    Row("Owner's session", "POST /api/personas/{persona}/messages", {"message": "Hello"}, by="owner",
        back={"turn.contact_id": NONE, "turn.session_id": Other("{first}")}, keep={"owners": "turn.session_id"}),
    Row("Owner's session: no contact", "GET /api/chat-sessions/{owners}", by="owner",
        back={"contact": NONE, "user_id": "{owner_id}"}),
    Row("findByThreadKey: a contact's", "POST /api/chat-sessions", status=201, keep={"thread": "session_id"},
        body={"contactId": "{one}", "personaId": "{persona}", "threadKey": "trip"}, back={"contact_id": "{one}"}),
    Row("findByThreadKey: isolated", "POST /api/chat-sessions", status=201, back={"session_id": Other("{thread}")},
        body={"contactId": "{two}", "personaId": "{persona}", "threadKey": "trip"}),
    Row("findByThreadKey: never the owner's", "POST /api/personas/{persona}/messages",
        {"message": "Hello", "threadKey": "trip"}, by="owner",
        back={"turn.session_id": Other("{thread}"), "turn.contact_id": NONE}),
    Row("Isolated history", "POST /api/contacts/{one}/messages",
        {"text": "One's secret", "role": "contact", "source": "telegram"}, status=201,
        keep={"held_by": "session_id"}),
    Row("Isolated history", "GET /api/chat-sessions?text=secret", lists=["{held_by}"]),
    Row("Isolated history", "GET /api/chat-sessions?text=secret&contactId={two}", lists=[]),
    Row("Command line: sender", "switchboard contact resolve {workspace} telegram:42", status=0,
        back={"id": "{one}"}),
    Row("Command line: chat --sender", "switchboard chat --persona {persona} --sender telegram:42", status=0,
        back={"event": "session", "contact_id": "{one}"}),
    Row("Command line: chat --contact-id", "switchboard chat --persona {persona} --contact-id {two}", status=0,
        back={"contact_id": "{two}", "session_id": Other("{first}")}),
    Row("Command line: an unknown sender", "switchboard chat --persona {persona} --sender telegram:44", status=3),
    *(Row("Manual: send Telegram message", "POST /api/webhooks/telegram/{channel}", by="telegram",
          body=telegram.update(f"A secret of {sender}", sender=sender), back={"received": True})
      for sender in (77, 78)),
    Row("Manual: until they are processed", "do $$ begin for wait in 1..400 loop exit when (select count(*) from"
        " public.messages where conversation_id in (select id from public.conversations where channel_id = '{channel}')"
        " and role = 'persona') = 2; perform pg_sleep(0.1); end loop; end $$", by="database"),
    *(row for sender, name in ((77, "ana"), (78, "ben")) for row in (
        Row("Manual: contact auto-created", f"GET /api/contacts?identity=telegram:{sender}",
            back={"items.*.name": [f"N{sender}"]}, keep={name: "items.0.id"}),
        Row("Manual: separate sessions", f"GET /api/chat-sessions?contactId={{{name}}}",
            back={"items.#": 1, "items.*.channel": ["telegram"]}, keep={f"chat_of_{name}": "items.0.id"}))),
    Row("Manual: separate sessions", "GET /api/chat-sessions?text=secret+of+77", lists=["{chat_of_ana}"]),
    *(Row("remember() writes contact_id", "POST /api/memories", status=201,
          body={"contactId": f"{{{name}}}", "memories": [{"content": f"{name} flies from Basel", "kind": "knowledge"}]},
          back={"memories.0.contact_id": f"{{{name}}}", "memories.0.folded": False},
          keep={f"memory_of_{name}": "memories.0.id"}) for name in ("one", "two")),
    Row("remember(): the owner's", "POST /api/memories", {"memories": [{"content": "We fly from Basel"}]}, by="owner",
        status=201, back={"memories.0.contact_id": NONE}, keep={"owners_memory": "memories.0.id"}),
    *(Row("recall() filters by it", "POST /api/memories/recall",
          {"contactId": f"{{{name}}}", "query": "From where does two fly, and one?"},
          back={"memories.*.id": [f"{{memory_of_{name}}}"]}) for name in ("one", "two")),
    Row("recall(): the owner sees all", "POST /api/memories/recall", {"query": "Basel"}, by="owner",
        back={"memories.*.id": ("{memory_of_one}", "{memory_of_two}", "{owners_memory}")}),
    Row("getKnowledgeMemories filters by it", "GET /api/memories?contactId={one}&kind=knowledge",
        lists=["{memory_of_one}"]),
    Row("memories.contact_id", "GET /rest/v1/memories?contact_id=eq.{two}&select=id,contact_id",
        lists=["{memory_of_two}"]),
    Row("Archive trigger", "DELETE /api/memories/{memory_of_two}", status=204),
    Row("Archive trigger: memory_history.contact_id", "GET /rest/v1/memory_history?memory_id=eq.{memory_of_two}",
        back={"items.*.contact_id": ["{two}"], "items.*.operation": ["forgotten"]}),
    Row("Forgotten", "GET /api/memories?contactId={two}", lists=[]),
    Row("Memory model", "PATCH /api/personas/{persona}", {"memoryModel": "shared"}, back={"memory_model": "shared"}),
    Row("Transcript archives", "GET /rest/v1/session_archives?select=session_id", back={"items.#": 0}),
)  # fmt: skip

DOCUMENTS = {
    "000 contacts and sessions": CONTACTS, "001 session management": MANAGEMENT, "002 session tracking": TRACKING,
    "003 live chat": LIVE_CHAT, "004 isolation per sender": ISOLATION,
}  # fmt: skip


@pytest_asyncio.fixture
async def caller(stack: Stack, database: asyncpg.Connection) -> AsyncIterator[Caller]:
    """A workspace with members, spaces whose personas are a demo, a workflow of n8n and a failing one."""
    async with AsyncExitStack() as rest:
        # The server closes a kept connection after 5 s.
        connector = aiohttp.TCPConnector(keepalive_timeout=2)
        client = await rest.enter_async_context(aiohttp.ClientSession(stack.api_url, connector=connector))
        n8n = await rest.enter_async_context(N8n())
        workspace = await add_workspace(database)
        await workspace.allow_loopback()
        staff = await staff_of(client, workspace, stack)
        ids: dict[str, UUID] = {"workspace": workspace.id, "space": workspace.space_id, "landing": workspace.landing_id}
        ids |= {"persona": workspace.persona_id, "user": staff.stranger.id, "agent_id": staff.agent.id}
        ids["owner_id"] = staff.owner.id
        for name, behaviour in (("workflow", "last-node"), ("failing", "failing")):
            ids[name] = await workspace.add_persona("n8n", {"url": n8n.url(behaviour)}, session_policy="per_message")
            ids[f"{name}_space"] = await workspace.add_space(persona_id=ids[name])
        known = {name: str(value) for name, value in ids.items()}
        people = {"owner": staff.owner, "admin": staff.admin, "agent": staff.agent, "other_admin": staff.other_admin}
        tokens = {name: str(person.token) for name, person in people.items()}
        tokens |= {"service": stack.service_role_key, "user": str(staff.stranger.token)}
        avinode = await rest.enter_async_context(Avinode())
        avinode.hold("rfqs/arfq-1000001", "quoted")
        known["avinode"] = f"http://{avinode.host}"
        channel = await workspace.add_channel(
            "avinode", "the-password", f"{API_TOKEN} {ACCESS_TOKEN}", allowed_hosts=[avinode.host]
        )
        tokens["avinode"] = f"Basic {b64encode(f'{channel}:the-password'.encode()).decode()}"
        known["channel"] = str(
            await workspace.add_channel("telegram", "the-secret-token", columns={"persona_id": workspace.persona_id})
        )
        tokens["telegram"] = "X-Telegram-Bot-Api-Secret-Token: the-secret-token"
        yield Caller(stack, client, n8n, known, tokens)


@pytest.mark.parametrize("document", DOCUMENTS)
async def test_every_call_of_a_source_document_is_answered_as_it_says(caller: Caller, document: str) -> None:
    faults = [fault for row in DOCUMENTS[document] if (fault := await caller.try_row(row))]
    assert not faults, "\n".join(faults)
