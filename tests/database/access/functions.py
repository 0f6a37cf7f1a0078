"""Every function of the API as every caller: what it answers, or how it refuses.

`[roles]` begins the functions that exactly these roles may execute; every other caller is refused by the grant.
A line is a call and its outcomes, or a call, a member of the answer and its outcomes: `call | member | who: outcome`.

- `table.label` is the id of a row (world.py); `{b,c}` makes a call for each label.
- `*` are all callers that may execute the function; a later entry overrules an earlier one. A rule, such as `manage`,
  stands for entries; `manage=x` gives `x` instead of `ok`.
- Groups and rules refer to the row that the call names first: `members` are those of its workspace, `sees` are the
  callers that may select it (tables.py), `{noun}` is its kind.
- An outcome is the code of a refusal, or the value of the member: a label for an id, `new` for an unknown one; in a
  list that of each item, in any order, and `none` for an empty list. Without a member it is `ok`.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass

from tests.database.access.callers import CALLERS, GROUPS, WITH_OWN_TOKEN, groups_of
from tests.database.access.matrix import Cells, cells
from tests.database.access.tables import TABLES
from tests.database.access.world import ROWS, with_ids, workspace_of

_RULES = {
    # For members, under their policies.
    "read": "*: {noun}_not_found; members service: OK",
    # For admins and owners, or only owners, with a scope for management; an agent knows that the row exists.
    "manage": "*: {noun}_not_found; managing_agents: forbidden; managing_admins service: OK",
    "own": "*: {noun}_not_found; managing_members: forbidden; managing_owners service: OK",
    # For the callers that see the row by themselves, or through the functions.
    "see": "*: {noun}_not_found; sees: OK",
    "act": "*: {noun}_not_found; for_sees managing_sees: OK",
    # For the members that see a session, but not for its contact or user.
    "work": "*: session_not_found; for_holders: forbidden; for_workers: OK",
    # For what the functions do during a turn or a job, with the scope of its workspace.
    "at_work": "*: space_not_found; at_a_space: forbidden; working_for_A: {noun}_not_found; working: OK",
    "at_space": "*: space_not_found; opens: OK",
    "system": "*: forbidden; system: OK",
    # Without a caller, or with a token for a space that is not named, no session starts.
    "starts": "*: contact_not_found; for_anonymous system no_scope at_closed: forbidden; "
    "for_A for_A_typed for_B for_C for_C_in_one before_entering two_at_one: forbidden",
    # Those who are no member and in no conversation.
    "strangers": "for_C_in_one for_stranger for_nameless for_former managing_former: conversation_not_found",
    "by_template": "*: forbidden; two_at_one managing working_for_A for_C no_keys_of_one: space_not_found",
}

_FUNCTIONS = """
[switchboard]
# An email that is typed without proof opens a conversation of its own.
# A key vouches for it, as does the token of the proven contact.
register_contact(spaces.one, 'embed', 'a@access.test', 'a@access.test') | conversation_id \
    | at_space=new; for_keys for_A before_entering: a
register_contact(spaces.one, 'embed', 'a@access.test', 'a@access.test') | contact_id | at_space=a
register_contact(spaces.one, 'embed', 'a@access.test', 'a@access.test', email_hmac => hmac.one) | conversation_id \
    | at_space=a
# The other workspace's secret signs nothing here, and its contacts are unknown.
register_contact(spaces.one, 'embed', 'a@access.test', 'a@access.test', email_hmac => hmac.two) \
    | at_space=email_hmac_invalid
register_contact(spaces.one, 'embed', 'x', 'x', identity_token => '{"signed": "a@access.test", "signature": "0"}') \
    | at_space=identity_token_invalid
register_contact(spaces.one, 'embed', 'c@access.test', 'c@access.test') | contact_id | at_space=new
register_contact(spaces.two, 'embed', 'c@access.test', 'c@access.test') | contact_id | at_space=c
register_contact(spaces.{landing,closed}, 'landing', 'a@access.test', 'a@access.test') | *: space_not_found
register_contact(spaces.one, 'landing', 'a@access.test', 'a@access.test') | *: space_not_found
# A user's email that Supabase Auth confirmed is proof.
register_contact(spaces.one, 'embed', 'guest@access.test', 'guest@access.test') | conversation_id \
    | at_space=new; for_guest: guest
# That token needs no email.
register_contact(spaces.one, 'embed', null, null) | conversation_id | at_space=invalid_body; for_A before_entering: a
space_origins(spaces.{one,two}) | at_space
space_look(spaces.{one,two}) | at_space
# Each caller reaches their own conversation, or a new one. A turn of A is active, and one of B.
start_turn(spaces.one, 'hello') | conversation_id \
    | at_space=new; for_agent: agent; for_agent_key: new; for_guest: guest; \
    for_A for_B before_entering: turn_in_progress; for_A_typed: a_arrival; for_C_in_one: conversation_not_found
start_turn(spaces.one, 'hello') | history.text \
    | at_space=none; for_A_typed: text-a_arrival; for_agent: text-agent; for_agent_key: none; \
    for_guest: text-guest; for_A for_B before_entering: turn_in_progress; for_C_in_one: conversation_not_found
start_turn(spaces.one, 'hello') | persona.secret | at_space=persona-one; \
    for_A for_B before_entering: turn_in_progress; for_C_in_one: conversation_not_found
# A client message id belongs to one conversation: only A finds the turn that it started.
start_turn(spaces.one, 'text-a', client_message_id => 'a-1') | turn_id | at_space=new; for_A before_entering: a; \
    for_B: turn_in_progress; for_C_in_one: conversation_not_found
start_turn(spaces.one, 'hello', email => 'a@access.test', email_key => 'a@access.test') | conversation_id \
    | at_space=new; for_agent: agent; for_guest: guest; for_A for_B before_entering for_keys: turn_in_progress; \
    for_A_typed: a_arrival; for_C_in_one: conversation_not_found
start_turn(spaces.two, 'hello') | at_space=turn_in_progress
start_turn(spaces.one, 'hello', persona_id => personas.two) \
    | at_space=persona_not_found; for_C_in_one: conversation_not_found
# A member's own conversation with a persona, without a space.
start_turn(null, 'hello', persona_id => personas.one) | conversation_id \
    | *: persona_not_found
flush_turn(turns.{a,c}, 10, 'more') | status | at_work=active
finish_turn(turns.{a,c}, 'completed', 'answer') | message_id | at_work=new
start_fallback(turns.{a,c}, 'persona_failed', 'why') | persona | at_work=None
recall_for_turn(turns.{a,c}, 'hello') | at_work
collect_messages(turns.a) | messages.text | at_work=text-a
collect_messages(turns.c) | messages.text | at_work=text-c
cancel_turn(turns.{a,b,b_old,c}) | act
recover_session(sessions.{a,b,c}) | act
# A turn that is under way is not retried.
retry_turn(turns.{a,b,c}) | act=transition_not_allowed
recover_session(sessions.b_old) | act=transition_not_allowed; for_agent managing_agent: session_not_found
record_event('n8n', 'one', '{}', '{}', '[{"key": "one", "kind": "x"}]') | duplicate | at_work=True
record_event('n8n', 'two', '{}', '{}', '[{"key": "two", "kind": "x"}]') | duplicate | at_work=False
apply_trip_report('avinode', '[{"kind": "trip", "external_id": "trip-a"}]', '[]') | sessions | at_work=1
apply_trip_report('avinode', '[{"kind": "trip", "external_id": "trip-c"}]', '[{"operator_key": "x", "report": {}}]') \
    | sessions | at_work=1; working_for_A: 0
refuse_erased_delivery('[{"kind": "omi", "key": "x"}]', 'now', inbound_events.{one,two}) | refused \
    | *: space_not_found; at_a_space: forbidden; working working_for_A: False
open_archive_erasure(archive_objects.one, erasures.one) | state \
    | *: space_not_found; at_a_space: forbidden; working: rewrite
open_archive_erasure(archive_objects.two, erasures.two) | state \
    | *: space_not_found; at_a_space: forbidden; working: rewrite; working_for_A: gone
record_archive_erasure(archive_objects.one, archive_objects.one, erasures.one, '{}', '[]') | recorded \
    | *: space_not_found; at_a_space: forbidden; working: False
record_archive_erasure(archive_objects.two, archive_objects.two, erasures.two, '{}', '[]') | recorded \
    | *: space_not_found; at_a_space: forbidden; working working_for_A: False
# A delivery whose jobs have not ended stays; one of another workspace is taken for gone.
erase_delivery(inbound_events.two) | erased | *: space_not_found; at_a_space: forbidden; working working_for_A: True
erase_delivery(inbound_events.one) | erased | *: space_not_found; at_a_space: forbidden; working: True; \
    working_for_A: False
complete_job(jobs.{running,running_2}, 1) | status | at_work=succeeded
fail_job(jobs.{running,running_2}, 1, 'why', true) | status | at_work=queued
postpone_job(jobs.{running,running_2}, 1, 5) | status | at_work=queued
read_delivery(event_deliveries.one) | secrets | at_work=signing-one
read_delivery(event_deliveries.two) | secrets | at_work
record_delivery(event_deliveries.{one,two}, '{"status": "succeeded"}') | status | at_work=succeeded
webhook_secret('n8n', 'turns.a') | secrets | system=callback-one former-persona_one
webhook_secret('n8n', 'turns.c') | secrets | system=callback-two former-persona_two
webhook_secret('n8n', 'sessions.a') | system=not_found
webhook_secret('telegram', 'channels.one') | secrets | system=verify-one former-channel_one
webhook_secret('telegram', 'two') | secrets | system=verify-two former-channel_two
webhook_secret('discord', 'channels.one') | system=not_found
channel_connection(channels.one) | token | at_work=token-one
channel_connection(channels.two) | token | at_work=token-two
generate_verify_secret(channels.one) | secret | manage=verify-one
generate_verify_secret(channels.two) | secret | manage=verify-two
open_channel(channels.one, 'test') | token | manage=token-one
open_channel(channels.two, 'test') | verify_secret | manage=verify-two
renew_job(jobs.{running,running_2}, 1, 60) | status | at_work=running
# A chat of the group, whose message a bot has sent.
accept_channel_message(channels.one, '-1', null, '{"identities": [{"kind": "telegram", "key": "-1", "value": "-1"}], \
    "profile": {}}', 'hello', '1', mentions => '{/}') | conversation_id | at_work=new
accept_channel_message(channels.two, '-1', null, null, 'hello', '1') | at_work
edit_channel_message(channels.one, '-100', '1', 'x', now()) | changed | at_work=False
edit_channel_message(channels.two, '-100', '1', 'x', now()) | at_work
migrate_chat(channels.one, '-100', '-200', '[{"kind": "telegram", "key": "-100"}]') | contact_id | at_work=None
migrate_chat(channels.two, '-100', '-200', '[]') | at_work
record_business_message(channels.one, '-100', 'hello', '1', '[]') | taken_over | at_work=True
record_business_message(channels.two, '-100', 'hello', '1', '[]') | at_work
take_up_turn(turns.b_old, jobs.running) | state | at_work=ended
take_up_turn(turns.c_old, jobs.running) | at_work
open_sending(messages.chat_one) | channel.token | at_work=token-one
open_sending(messages.chat_two) | at_work
record_sending(messages.{chat_one,chat_two}, 0, 'sent') | at_work
record_sending_status(channels.one, 'x', 'sent', null, messages.chat_one, 0) | changed | at_work=True
record_sending_status(channels.two, 'x', 'sent', null, messages.chat_one, 0) | changed | at_work=False
claim_jobs() | id | system=queued queued_2
claim_jobs(1, 60, jobs.queued_2) | id | system=queued_2
take_archive_batch(10, 60, workspaces.one) | object.workspace_id | system=one
abandon_archive_batch(archive_objects.{one,two}) | *: space_not_found; at_a_space: forbidden; working working_for_A: ok
record_archive(archive_objects.{one,two}, '{}', '[]', 0) \
    | *: space_not_found; at_a_space: forbidden; working working_for_A: ok
take_dead_objects() | objects | system=none
record_object_deleted(archive_objects.{one,two}) | system
locate_archive(sessions.{a,b_old,c_old}) | act=ok
request_session_export(sessions.{a,b,c}) | status | work=queued
import_batch(workspaces.{one,two}, 'crm', '{}') \
    | *: workspace_not_found; managing_agents: forbidden; managing_admins: ok
import_batch(workspaces.one, 'crm', '{}', personas.two) \
    | *: workspace_not_found; managing_agents: forbidden; managing_admins: persona_not_found
begin_export(exports.one) | id | at_work=one
begin_export(exports.two) | id | at_work=two
record_export(exports.{one,two}, '{"contacts": 1}') | status | at_work=queued
read_export_rows(exports.{one,two}, 'contacts') | at_work
list_expired_exports() | exports.id | system=old_one
remove_export(exports.{one,two}) | removed \
    | *: space_not_found; at_a_space: forbidden; working working_for_A: False
restore_session(sessions.{a,b_old,c_old}) | work
expire_idle_sessions() | timed_out | system=0
wake_worker() | system
wake_archive() | system
poll_streams('[]', '[]', '[]') | readers | system={}
announce_change(conversations.{a,c}) | listeners | system=False
begin_listening() | system
count_read(600) | *: ok; for_anonymous system no_scope at_closed: forbidden
open_stream(sessions.{a,c}, '192.0.2.9', 60, 20, 200) | *: ok
open_stream(sessions.{a,c}, '192.0.2.1', 60, 20, 2) | *: too_many_streams
close_stream(open_streams.{one,two}) | *: ok; no_scope: forbidden

save_transcript(channels.one, null, 'u', 'u', '[{"key": "k", "text": "x"}]') | id | at_work=new
save_transcript(channels.two, null, 'u', 'u', '[{"key": "k", "text": "x"}]') \
    | *: space_not_found; at_a_space: forbidden; working_for_A: persona_required
# A guess does not tell whether there is such a session.
link_device_session('device-one') | id | *: forbidden; for_users managing: claim_code_required; \
    for_guest managing_operator: one; any_keys: user_required
link_device_session('device-three') | *: forbidden; for_users managing: claim_code_required; any_keys: user_required
link_device_session(claim_hash => 'hash-none') \
    | *: forbidden; for_users managing: device_session_not_found; any_keys: user_required
change_session_status(sessions.{a,b,c}, 'paused') | work
change_session_status(sessions.guest, 'completed') | work
# Contacts and users may cancel their own session; it first asks the persona that answers to stop.
change_session_status(sessions.guest, 'cancelled') | *: session_not_found; for_sees: ok
change_session_status(sessions.{a,b}, 'cancelled') | *: session_not_found; for_sees: turn_in_progress
change_sessions_status(array[sessions.b, sessions.guest]::uuid[], 'paused') | code \
    | *: session_not_found session_not_found; for_B for_guest: forbidden session_not_found; \
      for_agent: None session_not_found; for_admins: None None
change_sessions_status(array[sessions.c, sessions.b]::uuid[], 'paused') | code \
    | *: session_not_found session_not_found; for_B for_C two_at_one: forbidden session_not_found; \
      for_agent for_admin for_owner for_admin_2: None session_not_found
change_sessions_status(array[sessions.guest]::uuid[], 'cancelled') | code | *: session_not_found; for_sees: None
set_presence(conversations.{a,guest,c}, true, true) \
    | *: conversation_not_found; for_admins: ok; for_admin_keys: user_required
set_presence(conversations.b, false, false) \
    | *: conversation_not_found; for_members: ok; for_keys: user_required
mark_conversation_read(conversations.{a,guest,c}) \
    | *: conversation_not_found; for_admins: ok; for_admin_keys: user_required
mark_conversation_read(conversations.b, messages.b) \
    | *: conversation_not_found; for_members: ok; for_keys: user_required
mark_conversation_read(conversations.a, messages.b) \
    | *: conversation_not_found; for_admins: message_not_found; for_admin_keys: user_required
take_over_session(sessions.{b,guest,c}) | work; for_working_keys: user_required
hand_back_session(sessions.{b,c}) | work
say_as_member(sessions.{b,c}, 'Hello') | work=not_taken_over
assign_session(sessions.a, users.agent) | assigned_user_id | work=agent
assign_session(sessions.b, null) | assigned_user_id | work=None; for_agent: forbidden
assign_session(sessions.b, users.admin_2) | work=member_not_found; for_agent: forbidden
assign_session(sessions.c, users.agent) | work=member_not_found
update_chat_session_workflow(sessions.{a,b,guest,agent,c}, '{"step": "understanding_request"}') | work
update_chat_session_with_trip_info(sessions.{a,b,guest,agent,c}, '{"origin": "LSGG", "refs": []}') | work
update_chat_session_activity(sessions.{a,b,guest,agent,c}) | work
update_chat_session_with_proposal(sessions.{a,b,guest,agent,c}, '{"status": "draft"}') | work
update_chat_session_with_quote(sessions.{a,b,guest,agent,c}, 'x', '{"status": "requested"}') | work
remove_chat_session_ref(sessions.b, session_refs.b) | work
remove_chat_session_ref(sessions.c, session_refs.c) | work
remove_chat_session_ref(sessions.b, session_refs.c) | work=ref_not_found
# A token for a space opens no session elsewhere, and without a caller there is none to open.
start_session(contact_id => contacts.a, persona_id => personas.one) | session_id \
    | starts; working_for_A for_admins: a; for_agent: forbidden
start_session(contact_id => contacts.a, persona_id => personas.one, space_id => spaces.one) | session_id \
    | starts; for_agent: forbidden; for_A before_entering for_admins: a; for_A_typed: a_arrival; \
    working_for_A for_C two_at_one: space_not_found; for_B for_C_in_one: contact_not_found
start_session(contact_id => contacts.c, persona_id => personas.two) | session_id | starts; for_admins: c
start_session(contact_id => contacts.a, persona_id => personas.two) \
    | starts; working_for_A for_agent for_admins: persona_not_found
start_session(contact_id => contacts.a, persona_id => personas.one, thread_key => 'new') | session_id \
    | starts; working_for_A: thread_key_not_allowed; for_agent for_admins: new
start_session(space_id => spaces.one, template => 'one') | session_id \
    | by_template; for_admins: new; for_agent: agent; for_agent_key: new
start_session(space_id => spaces.one, template => 'two') | by_template; for_agent for_admins: template_not_found
start_session(space_id => spaces.one, template => session_templates.two) \
    | by_template; for_agent for_admins: template_not_found
start_session(conversation_id => conversations.b) | session_id \
    | *: conversation_not_found; for_anonymous system no_scope at_closed: forbidden; for_agent for_admins: b
start_session(conversation_id => conversations.c) | session_id \
    | *: conversation_not_found; for_anonymous system no_scope at_closed: forbidden; for_admins: c
create_or_update_chat_session('{}', contact_id => contacts.b, persona_id => personas.one) | session_id \
    | *: forbidden; for_users managing no_keys_of_one working_for_A: contact_not_found; for_agent for_admins: b
create_or_update_chat_session('{}', contact_id => contacts.a, persona_id => personas.one) | session_id \
    | *: forbidden; for_users managing no_keys_of_one: contact_not_found; for_agent: forbidden; for_admins: a
create_or_update_chat_session('{}', contact_id => contacts.c, persona_id => personas.two) | session_id \
    | *: forbidden; for_users managing no_keys_of_one working_for_A: contact_not_found; for_admins: c
# An agent captures for the contacts of their sessions, and never where A's email was typed.
capture_message(contacts.a, 'x', 'contact', 'email') | session_id \
    | *: contact_not_found; for_agent: forbidden; for_admins: a
capture_message(contacts.b, 'x', 'contact', 'email') | session_id | *: contact_not_found; for_members: b
capture_message(contacts.c, 'x', 'contact', 'email') | session_id | *: contact_not_found; for_members: c
capture_message(contacts.a, 'x', 'contact', 'email', session_id => sessions.a_arrival) | session_id \
    | *: contact_not_found; for_agent: session_not_found; for_admins: a_arrival
capture_message(contacts.a, 'x', 'contact', 'email', session_id => sessions.c) \
    | *: contact_not_found; for_members: session_not_found
# A contact writes in its own conversation, a user as the contact that they are, a member without a contact what the
# workspace knows.
remember_memories('[{"content": "x"}]') | memories.conversation_id \
    | *: None; strangers; for_A_typed: a_arrival; for_B: b; for_anonymous system no_scope at_closed \
      for_ingest_key for_expired_key for_revoked_key managing_ingest_key managing_expired_key managing_revoked_key: \
      workspace_required
remember_memories('[{"content": "x"}]', workspaces.two) | memories.contact_id \
    | *: workspace_not_found; strangers; for_C two_at_one: c; for_members managing_members: None
remember_memories('[{"content": "x"}]', contact_id => contacts.a) | memories.contact_id \
    | *: contact_not_found; strangers; for_A for_A_typed working_for_A before_entering for_admins: a; \
      for_agent: forbidden
remember_memories('[{"content": "x"}]', contact_id => contacts.b) | memories.contact_id \
    | *: contact_not_found; strangers; for_B for_members: b
remember_memories('[{"content": "x"}]', contact_id => contacts.c) | memories.contact_id \
    | *: contact_not_found; strangers; for_C two_at_one for_members: c
remember_memories('[{"content": "x"}]', session_id => sessions.a) | memories.contact_id | act=a
remember_memories('[{"content": "x"}]', session_id => sessions.a) | memories.conversation_id | act=None
remember_memories('[{"content": "x"}]', session_id => sessions.a_arrival) | memories.conversation_id | act=a_arrival
remember_memories('[{"content": "x"}]', session_id => sessions.guest) | memories.contact_id \
    | act=guest; managing_operator: guest
remember_memories('[{"content": "x"}]', session_id => sessions.agent) | memories.contact_id | act=None
remember_memories('[{"content": "x"}]', session_id => sessions.c) | memories.contact_id | act=c
remember_memories('[{"content": "x"}]', persona_id => personas.two) | memories.persona_id \
    | *: persona_not_found; strangers; for_C two_at_one for_members managing_members: two
remember_memories('[{"content": "x", "supersedes": "memories.c"}]') | memories.contact_id \
    | *: memory_not_found; for_C two_at_one for_members managing_members: c
remember_memories('[{"content": "x", "supersedes": "memories.c"}]', contact_id => contacts.b) | memories.contact_id \
    | *: contact_not_found; strangers; for_B for_agent for_admin for_owner: memory_not_found
remember_memories('[{"content": "x", "message_id": "messages.b"}]', contact_id => contacts.b) \
    | memories.conversation_id | *: contact_not_found; strangers; for_B for_members: b
remember_memories('[{"content": "x", "message_id": "messages.c"}]', contact_id => contacts.b) \
    | *: contact_not_found; strangers; for_B for_agent for_admin for_owner: message_not_found
# What was said without proof is not recalled of the contact.
recall_memories('x', contact_id => contacts.b) | memories.id \
    | *: contact_not_found; strangers; for_B: b; for_members: none
recall_memories('x', contact_id => contacts.c) | memories.id \
    | *: contact_not_found; strangers; for_C two_at_one for_members: c
recall_memories('x', session_id => sessions.{a,a_arrival,c}) | act
recall_memories('x', session_id => sessions.guest) | act; managing_operator: ok
memories_to_embed(10) | memories.id | at_work=c; working_for_A: a
store_embeddings('m', '[]') | stored | at_work=0
forget_memory(memories.{a,a_arrival,a_internal,a_former,b,agent,known_one,c}) | act
forget_memory(memories.guest) | act; managing_operator: ok

[anon contact authenticated switchboard service_role]
check_request() | *: ok; ingest_key: forbidden; expired_key: api_key_expired; revoked_key: api_key_invalid

[contact authenticated switchboard]
read_turn(turns.{a,b}, 0) | text | see=piece; switchboard: space_not_found; at_a_space: forbidden; working_for_A: piece
read_turn(turns.b_old, 0) | message_id \
    | see=b_old_answer; switchboard: space_not_found; at_a_space: forbidden; working_for_A: b_old_answer
read_turn(turns.c, 0) | text \
    | see=piece; switchboard: space_not_found; at_a_space: forbidden; working_for_A: turn_not_found

[contact authenticated service_role]
public.search_words('Café')::text | value | *: 'cafe'

[contact authenticated]
# The conversation of a contact is the token's, and no user has an active turn.
read_active_turn(spaces.{one,two}, 'main') | turn.turn_id | *: None; A: a; B: b; C: c
follow_conversation(conversations.a) | level | see=all; A: own
follow_conversation(conversations.c) | level | see=all; C: own
follow_conversation(conversations.guest) | level | see=all; guest: own
follow_conversation(conversations.agent) | level | see=all; agent: own; agent_key: conversation_not_found
follow_conversation(conversations.b) | level | see=all; B: own; agent: assigned
follow_conversation(conversations.a) | messages.id | see=a
follow_conversation(conversations.a_arrival) | messages.id | see=a_arrival
follow_conversation(conversations.b) | messages.id | see=b b_old b_old_answer; agent: b
follow_conversation(conversations.guest) | messages.id | see=guest
follow_conversation(conversations.c) | messages.id | see=c
follow_conversation(conversations.b, messages.b_old) | see; agent: message_not_found
follow_conversation(conversations.a, messages.c) | see=message_not_found

[authenticated]
follow_workspace(workspaces.{one,two}) | level | *: workspace_not_found; agents: assigned; admins: all
read_current_conversation() | conversation_id | *: None; guest: guest; agent: agent; agent_key: None
(public.search_sessions(workspaces.one, 'text')).id | value \
    | *: forbidden; admin owner: a a_arrival agent b b_old guest
(public.search_sessions(workspaces.two, external_ids => '{trip-c}')).id | value | *: forbidden; admin_2: c

workspace_health(workspaces.{one,two}) | *: workspace_not_found; agents: forbidden; admins: ok
# No workspace is none of theirs.
workspace_health(null) | *: workspace_not_found
search_sessions(null, 'text') | *: forbidden
# What the member sees, without what the member wrote.
(public.unread_sessions(workspaces.one)).id | value \
    | *: none; agent: b; admin owner: a a_arrival b guest agent; keys: none
(public.unread_sessions(workspaces.two)).id | value | *: none; admin_2: c; key_two: none

[contact authenticated service_role]
# The workflow of a session is for members and operators.
(public.session_events(sessions.{a,guest})).step | value | *: none; admin owner service: understanding_request
(public.session_events(sessions.b)).step | value | *: none; members service: understanding_request
(public.session_events(sessions.c)).step | value | *: none; members service: understanding_request

[authenticated service_role]
read_session_stats() | sessions.total | *: 0; guest: 1; agent: 2; agent_key: 1; admin owner: 7; admin_2: 3
read_session_stats(workspaces.one) | sessions.total | *: 0; guest: 1; agent: 2; agent_key: 1; admin owner service: 7
read_session_stats(workspaces.two) | sessions.total | *: 0; admin_2 service: 3
# A caller that sees no session of a contact does not learn that there is one.
read_contact_timeline(contacts.b) | session_id | read=None None None b b b_old b_old; agent: None None None b b
read_contact_timeline(contacts.c) | read

[switchboard service_role]
set_session_tags(sessions.{a,b,c}, added => 'x') | *: session_not_found; managing_sees service: ok
apply_retention(workspaces.{one,two}) | finished | *: forbidden; system service: False
continue_erasure(erasures.{one,two}) | erasure.status | *: forbidden; system service: running
archive_old_chat_sessions() | archived | *: forbidden; system service: 2
archive_sessions_of_workspace(workspaces.{one,two}) | manage
clean_up_sessions(workspaces.{one,two}, 24) | manage
clean_up_sessions() | *: workspace_required; for_agent for_admins for_admin_2: workspace_not_found; \
    managing_agent: forbidden; managing_admin managing_owner managing_admin_2: ok
# Operators create workspaces.
create_workspace('{"name": "x"}', users.guest) | id | *: forbidden; managing_operator service: new
create_workspace('{"name": "x"}', null, 'nobody@access.test') \
    | *: forbidden; managing_operator service: user_not_found
create_workspace('{"name": "x"}') | id | *: forbidden; managing_operator: new; service: user_not_found
create_workspace('{"id": "workspaces.two", "name": "x"}', users.guest) \
    | *: forbidden; managing_operator service: id_taken
set_allowed_networks(workspaces.{one,two}, '{10.1.0.0/16}') \
    | *: workspace_not_found; managing_members: forbidden; managing_operator service: ok
delete_workspace(workspaces.one, 'Workspace-one') | own
delete_workspace(workspaces.one, 'workspace-one') | own=wrong_name
delete_workspace(workspaces.two, 'Workspace-two') | own
set_member(workspaces.one, users.agent, 'agent') | manage
set_member(workspaces.two, users.admin_2, 'admin') | own
set_member(workspaces.one, users.agent, 'admin') | own
set_member(workspaces.one, users.owner, 'agent') | own=last_owner
# To name a user adds no member.
set_member(workspaces.{one,two}, users.guest, 'agent') | manage=member_not_found
create_api_key(workspaces.{one,two}, '00000000-0000-4000-8000-000000000001', repeat('b', 64), 'x', 'agent') | prefix \
    | manage=swb_000000000000; managing_admin_keys: user_required
revoke_api_key(workspaces.one, api_keys.agent_key) | manage; managing_admin_keys: user_required
revoke_api_key(workspaces.one, api_keys.key_two) | manage=api_key_not_found; managing_admin_keys: user_required
invite_member(workspaces.{one,two}, 'x@access.test', 'x@access.test', 'agent') \
    | manage; managing_admin_keys: user_required
invite_member(workspaces.one, 'guest@access.test', 'guest@access.test', 'agent') | id \
    | manage=one; managing_admin_keys: user_required
invite_member(workspaces.one, 'x@access.test', 'x@access.test', 'admin') | own; managing_admin_keys: user_required
withdraw_invitation(workspaces.one, invitations.{one,late_one}) | manage
withdraw_invitation(workspaces.one, invitations.used_one) | manage=invitation_not_found
withdraw_invitation(workspaces.one, invitations.two) | manage=invitation_not_found
withdraw_invitation(workspaces.two, invitations.two) | manage
# An agent may leave.
remove_member(workspaces.one, users.agent) | manage; managing_agent: ok; managing_agent_key: forbidden
remove_member(workspaces.one, users.owner) | own=last_owner
remove_member(workspaces.one, users.admin_2) | manage=member_not_found
remove_member(workspaces.two, users.admin_2) | manage; managing_key_two: forbidden
create_in_workspace('space', workspaces.one, '{"kind": "embed", "name": "x", "persona_id": "personas.one"}') | id \
    | manage=new
create_in_workspace('space', workspaces.one, '{"kind": "embed", "name": "x", "persona_id": "personas.two"}') \
    | manage=persona_not_found
create_in_workspace('space', workspaces.two, '{"kind": "embed", "name": "x", "persona_id": "personas.two"}') | id \
    | manage=new
create_in_workspace('persona', workspaces.{one,two}, '{"kind": "demo", "name": "x"}') | id | manage=new
create_in_workspace('persona', workspaces.one, '{"id": "personas.two", "kind": "x", "name": "x"}') | manage=id_taken
create_in_workspace('channel', workspaces.{one,two}, '{"kind": "omi", "name": "x"}') | id | manage=new
create_in_workspace('channel', workspaces.one, '{"kind": "telegram", "name": "x", "external_id": "two"}') \
    | manage=external_id_taken
create_in_workspace('channel', workspaces.one, '{"kind": "omi", "name": "x", "persona_id": "personas.two"}') \
    | manage=persona_not_found
create_in_workspace('template', workspaces.one, '{"name": "x"}') | id | manage=new
create_in_workspace('template', workspaces.one, '{"name": "x", "persona_id": "personas.two"}') \
    | manage=persona_not_found
create_in_workspace('template', workspaces.two, '{"name": "two"}') | manage=name_taken
change_settings('workspace', workspaces.{one,two}, '{"name": "x", "allowed_networks": ["10.0.0.0/8"]}') \
    | allowed_networks | manage=none
change_settings('space', spaces.{one,two}, '{"name": "x", "hmac_secret_id": null}') | has_hmac_secret | manage=True
change_settings('space', spaces.one, '{"persona_id": "personas.two"}') | manage=persona_not_found
change_settings('persona', personas.{one,two}, '{"name": "x", "kind": "n8n", "secret_id": null}') | kind | manage=demo
change_settings('channel', channels.{one,two}, '{"name": "x", "verify_secret_id": null}') | has_verify_secret \
    | manage=True
change_settings('template', session_templates.{one,two}, '{"name": "x"}') | name | manage=x
delete_space(spaces.closed) | own
delete_space(spaces.{one,two}) | own=space_in_use
delete_persona(personas.well_one) | own
delete_persona(personas.{one,two}) | own=persona_in_use
delete_channel(channels.{one,two}) | manage
remove_session_template(session_templates.{one,two}) | manage
create_answer_template(workspaces.{one,two}, '{"name": "x", "text": "x"}') | id | manage=new
create_answer_template(workspaces.two, '{"name": "two", "text": "x"}') | manage=name_taken
change_answer_template(answer_templates.{one,two}, '{"text": "x"}') | text | manage=x
remove_answer_template(answer_templates.{one,two}) | manage
issue_device_session(workspaces.{one,two}, 'x', 'x') | id | manage=new
change_device_session(device_sessions.{one,two}, user_id => users.guest) | manage
change_device_session(device_sessions.{one,two}, 'x') | manage
# A user links a device where they have a conversation.
add_device_link(workspaces.one, 'x', users.guest) \
    | *: forbidden; for_guest managing_operator managing_admins service: ok
add_device_link(workspaces.two, 'x', users.guest) \
    | *: forbidden; for_guest managing_operator: workspace_not_found; managing_admins service: ok
change_device_link(device_links.{one,two}, true) | manage
change_device_link(device_links.one, false) | manage; for_guest managing_operator: ok
replace_secret('hmac', spaces.{one,two}, 'rotate', overlap_seconds => 60) | manage
replace_secret('hmac', spaces.{one,two}, 'remove') | manage
replace_secret('secret', personas.{one,two}, 'set', 'x') | manage
replace_secret('callback', personas.{one,two}, 'rotate', overlap_seconds => 60) | manage
replace_secret('verify', channels.{one,two}, 'rotate', overlap_seconds => 60) | manage
replace_secret('token', channels.{one,two}, 'set', 'x') | manage
add_workflow_transition(workspaces.one, '{"workflow": "refit", "to_step": "begin_two"}') | id | manage=new
add_workflow_transition(workspaces.two, '{"workflow": "refit", "to_step": "begin_two"}') | id | manage=two
remove_workflow_transition(workspaces.one, workflow_transitions.one) | manage
remove_workflow_transition(workspaces.one, workflow_transitions.two) | manage=transition_not_found
remove_workflow_transition(workspaces.two, workflow_transitions.two) | manage
remove_workflow_transition(workspaces.one, workflow_transitions.built_in_1) | manage=transition_not_found
resolve_contact('[{"kind": "email", "key": "a@access.test", "value": "x"}]', workspaces.one) | contact.id | manage=a
resolve_contact('[{"kind": "email", "key": "c@access.test", "value": "x"}]', workspaces.two) | contact.id | manage=c
resolve_contact('[{"kind": "email", "key": "c@access.test", "value": "x"}]', workspaces.one) | manage=contact_not_found
resolve_contact('[{"kind": "telegram", "key": "5", "value": "5"}]', make => true) | contact.id \
    | *: workspace_required; for_agent for_admins for_admin_2: workspace_not_found; managing_agent: forbidden; \
    managing_admin managing_owner managing_admin_2: new
# Members create and change contacts; with a verifier owners and admins.
create_contact('{"first_name": "x"}', workspace_id => workspaces.{one,two}) | contact.id \
    | *: workspace_not_found; managing_members service: new
create_contact('{}', '[{"kind": "email", "key": "a@access.test", "value": "x"}]', workspace_id => workspaces.one) \
    | conflict | *: workspace_not_found; managing_members service: a
create_contact('{}', '[{"kind": "omi", "key": "5", "value": "5"}]', 'person', workspaces.one, 'omi') | contact.id \
    | manage=new
change_contact(contacts.{b,c}, '{"first_name": "x"}') | contact.first_name \
    | *: contact_not_found; managing_members service: x
change_contact(contacts.b, '{}', '[{"kind": "email", "key": "a@access.test", "value": "x"}]') | conflict \
    | *: contact_not_found; managing_members service: a
change_contact(contacts.b, '{}', '[{"kind": "email", "key": "c@access.test", "value": "x"}]', verified_by => 'crm') \
    | contact.id | manage=b
set_contact_tags(contacts.{b,c}, '{x}') | *: contact_not_found; managing_members service: ok
sign_out_contact(contacts.{b,c}) | *: contact_not_found; managing_members service: ok
read_retention(workspaces.{one,two}) | *: workspace_not_found; managing_members service: ok
set_retention(workspaces.{one,two}, '{"audit": 9}') | audit_days | manage=9
preview_retention(workspaces.{one,two}) | manage
# Their turns are stopped first.
erase_contact(contacts.{b,c}) | stopping | manage=True
check_erasure(erasures.{one,two}) | manage
merge_contacts(contacts.b, contacts.a, true) | preview.into_id | manage=a
merge_contacts(contacts.b, contacts.a) | merge.into_id | manage=a
merge_contacts(contacts.d, contacts.c) | merge.into_id | manage=c
merge_contacts(contacts.b, contacts.c) | manage=contact_not_found
merge_contacts(contacts.c, contacts.b) | manage=contact_not_found
unmerge_contact(contacts.{old_one,old_two}) | manage
dismiss_contact_conflict(contact_conflicts.{one,two}) | status | manage=dismissed
request_export(workspaces.{one,two}) | status | manage=queued
request_export(contact_id => contacts.{b,c}) | status | manage=queued
replay_job(jobs.{queued,queued_2}) | status | manage=queued
discard_job(jobs.{queued,queued_2}) | status | manage=discarded
replay_job(jobs.{running,running_2}) | manage=transition_not_allowed
create_event_subscription(workspaces.{one,two}, '{"url": "x", "event_types": ["message.created"]}') \
    | url | manage=x
change_settings('event_subscription', event_subscriptions.{one,two}, '{"enabled": false}') | disabled_reason \
    | manage=member
replace_secret('signing', event_subscriptions.{one,two}, 'rotate', overlap_seconds => 60) | manage
remove_event_subscription(event_subscriptions.{one,two}) | manage
test_event_subscription(event_subscriptions.{one,two}) | delivery_id | manage=new
replay_event_delivery(event_deliveries.one) | delivery_id | manage=one
replay_event_delivery(event_deliveries.two) | delivery_id | manage=two

[service_role]
# Operators' commands.
queue_embeddings(workspaces.{one,two}, 'm') | *: ok
embedding_progress(workspaces.{one,two}) | waiting | *: 1
check_health() | *: ok
export_erasures() | erasures.id | *: one two
replay_erasure('{"workspace_id": "00000000-0000-0000-0000-000000000001", "salt": "", "hashes": []}') | *: 23503
cancel_session(sessions.guest) | *: ok
cancel_session(sessions.{a,c}) | *: turn_in_progress
add_member(workspaces.{one,two}, 'agent', 'guest@access.test') | *: ok
add_member(workspaces.{one,two}, 'agent', user_id => users.guest) | *: ok
add_member(workspaces.one, 'agent', 'nobody@access.test') | *: user_not_found
add_member(workspaces.one, 'agent', 'stranger@access.test') | *: user_not_found
add_member(workspaces.one, 'agent', 'owner@access.test') | *: member_exists
add_member(workspaces.one, 'agent', user_id => users.nameless) | *: user_not_found

[switchboard]
# Only for the user whose confirmed email it is, until it expires; a repeat returns the membership.
accept_invitation(invitations.one) | role | *: invitation_not_found; any_keys: user_required; managing_operator: agent
accept_invitation(invitations.used_one) | role \
    | *: invitation_not_found; managing_agent: agent; any_keys: user_required
accept_invitation(invitations.{two,late_one}) | *: invitation_not_found; any_keys: user_required

# Steps with the rights of their owner, each of which decides by itself what it gives.
[switchboard]
private.persona_secret(personas.one) | value | *: None; in_one: persona-one
private.persona_secret(personas.two) | value | *: None; for_C: persona-two
private.subscription_secrets(event_subscriptions.one) | value | *: none; in_one: signing-one
private.subscription_secrets(event_subscriptions.two) | value | *: none; for_C: signing-two
private.is_signed(spaces.one, array['x', 'a@access.test'], hmac.one) | value | *: False; in_one: True
private.is_signed(spaces.two, array['a@access.test'], hmac.two) | value | *: False; for_C: True
private.callback_secret(turns.a) | workspace_id | system=one
private.verify_secrets('telegram', channels.one, null) | workspace_id | system=one
private.channel_secret(channels.one, 'token') | value | *: None; in_one: token-one
private.channel_secret(channels.one, 'verify') | value | *: None; in_one: verify-one
private.channel_secret(channels.two, 'token') | value | *: None; for_C: token-two
private.channel_secret(channels.two, 'verify') | value | *: None; for_C: verify-two
private.claim_due_jobs(1, 60, jobs.queued, 'worker') | system
private.find_archivable(workspaces.one) | system
private.release_expired_batches() | system
private.expired_exports(10) | system
private.drop_archived_messages(archive_objects.{one,two}) | *: ok
private.wake('worker') | system
[switchboard service_role]
private.email_is_confirmed(users.guest, 'guest@access.test') | value | *: True
private.email_is_confirmed(users.stranger, 'stranger@access.test') | value | *: False
private.caller_role(workspaces.one) | value | *: None; managing_agent: agent; managing_admin: admin; \
    managing_owner service: owner
private.caller_role(workspaces.two) | value | *: None; managing_admin_2: admin; service: owner
private.find_user_by_email(null, 'guest@access.test') | value | *: forbidden; managing_operator service: guest
private.store_secret('hmac', spaces.one, 'x', 60) | value | *: forbidden; managing_admins service: True
[authenticated]
follow_workspace(workspaces.{one,two}) | level | *: workspace_not_found; agents: assigned; admins: all
private.confirmed_email() | value | *: None; guest: guest@access.test; former: former@access.test; \
    agent: agent@access.test; admin: admin@access.test; owner: owner@access.test; admin_2: admin_2@access.test; \
    agent_key admin_key key_two: None
[authenticated service_role]
private.member_email(workspaces.one, users.agent) | value | *: None; members service: agent@access.test
private.member_email(workspaces.one, users.guest) | value | *: None
private.member_email(workspaces.two, users.admin_2) | value | *: None; members service: admin_2@access.test
[authenticated switchboard service_role]
private.allowed_networks(workspaces.one) | value | *: None; admins service in_one: none
private.allowed_networks(workspaces.two) | value | *: None; admins service for_C: none
private.persona_config(personas.one) | mode | *: None; admins service in_one: async
private.persona_config(personas.two) | mode | *: None; admins service for_C: async
[contact switchboard]
private.token_is_revoked() | value | *: False
[contact authenticated switchboard service_role]
private.claims() | role | contact: contact; authenticated: authenticated; switchboard: switchboard; \
    service: service_role
"""


@dataclass(frozen=True)
class Call:
    """One call of a function, as every caller."""

    name: str
    sql: str
    key: str
    roles: frozenset[str]
    outcomes: Cells
    names: frozenset[tuple[str, str]]
    """The rows that it names."""


def _sees(table: str, label: str) -> set[str]:
    line = next((line for line in TABLES if line.name == table), None)
    return {name for name in line.select if label in line.expected(line.select, name, "")} if line else set()


def _groups(table: str, label: str) -> dict[str, set[str]]:
    """The groups that depend on the row that a call names first."""
    workspace = workspace_of(label)
    groups = groups_of(workspace)
    sees = _sees(table, label) & WITH_OWN_TOKEN
    identities = {CALLERS[name].identity for name in sees}
    scopes = (None, ROWS["public.workspaces"][workspace]["id"])
    acts = {
        name for name in GROUPS["switchboard"]
        if CALLERS[name].identity in identities and CALLERS[name].scope.get("workspace_id") in scopes
    }  # fmt: skip
    works = {name.replace("managing_", "for_") for name in groups["for_members"] | groups["managing_members"]}
    return groups | {
        "sees": sees,
        "for_sees": acts - GROUPS["managing"],
        "managing_sees": acts & GROUPS["managing"] & groups["managing_members"],
        "for_holders": acts - GROUPS["managing"] - works,
        "for_workers": acts & works,
        "for_working_keys": acts & works & GROUPS["any_keys"],
        "opens": GROUPS["opens_one"] if workspace == "one" else {"for_C"},
        "working": {"working_for_A"} if workspace == "one" else set(),
    }


def _noun(table: str) -> str:
    singular = re.sub(r"ies$", "y", table)
    return re.sub(r"^(public\.)?(session_(?=[rt])|contact_(?=c)|workflow_)?|s$", "", singular)


def _calls(line: str, roles: frozenset[str]) -> list[Call]:
    template, *key, outcomes = (part.strip() for part in line.split("|"))
    labels = re.search(r"\.\{(\w+(?:,\w+)+)\}", template)
    found = []
    for label in labels[1].split(",") if labels else ("",):
        sql = template.replace(labels[0], f".{label}") if labels else template
        named = re.findall(rf"\b({'|'.join(_TABLES)})\.(\w+)", sql)
        table, first = (_TABLES[named[0][0]], named[0][1]) if named else ("public.workspaces", "one")
        sql = with_ids(re.sub(r"hmac\.(\w+)", lambda secret: f"'{_signature(f'hmac-{secret[1]}')}'", sql))
        executing = {"*": set().union(*(GROUPS[role] for role in roles))}
        rules = {name: rule.replace("{noun}", _noun(table)) for name, rule in _RULES.items()}
        given = cells(outcomes, rules, GROUPS | _groups(table, first) | executing)
        given = {name: outcome for name, outcome in given.items() if name in executing["*"]}
        name = re.match(r"\(?([\w.]+)", sql)
        assert name is not None
        full = name[1] if "." in name[1] else f"public.{name[1]}"
        sql = sql if "." in name[1] else f"public.{sql}"
        rows = frozenset((_TABLES[table], label) for table, label in named)
        found.append(Call(full, sql, key[0] if key else "-", roles, given, rows))
    return found


def _signature(secret: str) -> str:
    """The value of email_hmac that a customer's server sends for A."""
    return hmac.new(secret.encode(), b"a@access.test", hashlib.sha256).hexdigest()


_TABLES = {table.split(".")[1]: table for table in ROWS}


def _read() -> list[Call]:
    found, roles = [], frozenset[str]()
    for line in _FUNCTIONS.replace("\\\n", "").splitlines():
        if line.startswith("["):
            roles = frozenset(line.strip("[]").split())
        elif line and not line.startswith("#"):
            found += _calls(line, roles)
    return found


CALLS = _read()
