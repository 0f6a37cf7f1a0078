-- Generated from supabase/schemas/32_sessions.sql.
set lock_timeout = '5s';
set statement_timeout = '60s';
set check_function_bodies = off;

-- Sessions: the episodes of a conversation, their lifecycle, and tags.

create table public.sessions (
    id                    uuid                  not null default private.uuid7(),
    workspace_id          uuid                  not null,
    conversation_id       uuid                  not null,
    contact_id            uuid,
    user_id               uuid,
    persona_id            uuid                  not null,
    space_id              uuid,
    channel               text                  not null default 'web',
    assigned_user_id      uuid,
    status                public.session_status not null default 'active',
    turn_count            integer               not null default 0,
    message_count         integer               not null default 0,
    metadata              jsonb                 not null default '{}',
    error_message         text,
    created_at            timestamptz           not null default clock_timestamp(),
    last_activity_at      timestamptz           not null default clock_timestamp(),
    ended_at              timestamptz,
    archived_at           timestamptz,
    status_before_archive public.session_status,
    workflow              text,
    workflow_step         text,
    workflow_state        jsonb                 not null default '{}',
    request_id            uuid,
    primary_quote_id      uuid,
    proposal_id           uuid,
    taken_over_by         uuid,
    taken_over_at         timestamptz,
    first_message_at      timestamptz,
    updated_at            timestamptz           not null default clock_timestamp(),
    subject               text,
    opened_by_key_id      uuid,
    constraint sessions_pkey                  primary key (id),
    constraint sessions_workspace_key         unique (workspace_id, id),
    constraint sessions_conversation_key      unique (workspace_id, conversation_id, id),
    constraint sessions_conversation_id_fkey  foreign key (workspace_id, conversation_id) references public.conversations (workspace_id, id) on delete cascade,
    constraint sessions_contact_id_fkey       foreign key (workspace_id, contact_id) references public.contacts (workspace_id, id) on delete cascade,
    constraint sessions_persona_id_fkey       foreign key (workspace_id, persona_id) references public.personas (workspace_id, id) deferrable initially deferred,
    constraint sessions_space_id_fkey         foreign key (workspace_id, space_id) references public.spaces (workspace_id, id) on delete set null (space_id),
    constraint sessions_assigned_user_id_fkey foreign key (workspace_id, assigned_user_id)
        references public.workspace_members (workspace_id, user_id) on delete set null (assigned_user_id),
    constraint sessions_taken_over_by_fkey    foreign key (workspace_id, taken_over_by)
        references public.workspace_members (workspace_id, user_id) on delete set null (taken_over_by),
    constraint sessions_opened_by_key_id_fkey foreign key (workspace_id, opened_by_key_id)
        references public.api_keys (workspace_id, id) on delete set null (opened_by_key_id),
    constraint sessions_metadata_object       check (jsonb_typeof(metadata) = 'object'),
    constraint sessions_ended                 check ((status in ('active', 'paused')) = (ended_at is null)),
    constraint sessions_archived              check ((status = 'archived') = (archived_at is not null and status_before_archive is not null)),
    constraint sessions_workflow              check ((workflow is null) = (workflow_step is null)),
    constraint sessions_workflow_state_object check (jsonb_typeof(workflow_state) = 'object'),
    constraint sessions_taken_over            check ((taken_over_by is null) = (taken_over_at is null)),
    constraint sessions_subject               check (length(subject) between 1 and 200),
    constraint sessions_taken_over_live       check (taken_over_by is null or status in ('active', 'paused'))
) with (fillfactor=90);
comment on table public.sessions is 'One episode of a conversation, with status and counters.';
comment on column public.sessions.space_id is 'That of its conversation, copied so that lists by space have an index.';
comment on column public.sessions.channel is 'That of its conversation, which keeps it, copied so that lists by channel have an index.';
comment on column public.sessions.assigned_user_id is 'The member who is responsible for it; null: none, also after that member left.';
comment on column public.sessions.turn_count is 'Equals the number of its turns; changed in the transaction that adds one.';
comment on column public.sessions.error_message is 'The code of the last failure, of a turn or of the session.';
comment on column public.sessions.opened_by_key_id is 'The agent''s API key that opened it, and may work on it: a key is not assigned.';
comment on column public.sessions.subject is 'What it is about, as members name it.';
comment on column public.sessions.updated_at is 'When the row was last changed, in whatever column.';
comment on column public.sessions.message_count is 'Equals the number of its messages; changed in the transaction that adds one.';
comment on column public.sessions.metadata is 'User agent, address, device and its client hint (device_info), source, and the registration form.';
comment on column public.sessions.workflow is 'The name of its workflow; workflow_transitions has the steps.';
comment on column public.sessions.workflow_step is 'The current step; workflow_steps has the history.';
comment on column public.sessions.workflow_state is 'Data that the workflow keeps with the session.';
comment on column public.sessions.request_id is 'The request that the session works on.';
comment on column public.sessions.primary_quote_id is 'The received quote of its request that lists show; null without one.';
comment on column public.sessions.proposal_id is 'The proposal made in the session.';
comment on column public.sessions.taken_over_by is 'The member who answers in place of the persona; null: the persona answers.';
comment on column public.sessions.first_message_at is 'The time of the first incoming message; null: none yet.';
alter table public.sessions enable row level security;
create unique index sessions_one_live_idx on public.sessions (conversation_id) where status in ('active', 'paused');
create index sessions_conversation_id_idx on public.sessions (conversation_id, status);
create index sessions_contact_id_idx on public.sessions (contact_id, persona_id, status);
create index sessions_user_id_idx
 on public.sessions (user_id, workspace_id, created_at, id) include (contact_id) where user_id is not null;
create index sessions_user_activity_idx on public.sessions (user_id, last_activity_at) where user_id is not null;
create index sessions_assigned_user_id_idx
 on public.sessions (assigned_user_id, workspace_id, created_at, id) include (conversation_id) where assigned_user_id is not null;
create index sessions_opened_by_key_id_idx
 on public.sessions (opened_by_key_id, workspace_id, created_at, id) include (conversation_id) where opened_by_key_id is not null;
create index sessions_last_activity_at_idx on public.sessions (workspace_id, last_activity_at, id);
create index sessions_archivable_idx on public.sessions (workspace_id, ended_at)
    where status in ('completed', 'failed', 'timeout', 'cancelled');
create index sessions_created_at_idx on public.sessions (workspace_id, created_at, id);
create index sessions_active_idx on public.sessions (workspace_id, created_at, id) where status = 'active';
create index sessions_paused_idx on public.sessions (workspace_id, created_at, id) where status = 'paused';
create index sessions_completed_idx on public.sessions (workspace_id, created_at, id) where status = 'completed';
create index sessions_failed_idx on public.sessions (workspace_id, created_at, id) where status = 'failed';
create index sessions_timeout_idx on public.sessions (workspace_id, created_at, id) where status = 'timeout';
create index sessions_cancelled_idx on public.sessions (workspace_id, created_at, id) where status = 'cancelled';
create index sessions_archived_idx on public.sessions (workspace_id, created_at, id) where status = 'archived';
create index sessions_persona_created_at_idx on public.sessions (persona_id, created_at, id);
create index sessions_space_id_idx on public.sessions (space_id, created_at, id) where space_id is not null;
create index sessions_channel_idx on public.sessions (workspace_id, channel, created_at, id) where channel <> 'web';
create index sessions_idle_idx on public.sessions (workspace_id, last_activity_at, id) where status in ('active', 'paused');
create index sessions_request_id_idx on public.sessions (request_id) where request_id is not null;
create index sessions_primary_quote_id_idx on public.sessions (primary_quote_id) where primary_quote_id is not null;
create index sessions_proposal_id_idx on public.sessions (proposal_id) where proposal_id is not null;
create index sessions_workflow_step_idx on public.sessions (workspace_id, workflow_step, created_at, id) where workflow_step is not null;
create index sessions_workflow_idx on public.sessions (workspace_id, workflow, created_at, id) where workflow is not null;
create index sessions_with_quote_idx on public.sessions (workspace_id, created_at, id) where primary_quote_id is not null;
create index sessions_taken_over_idx on public.sessions (workspace_id, created_at, id) where taken_over_at is not null;
create index sessions_taken_over_by_idx on public.sessions (taken_over_by) where taken_over_by is not null;
-- Of sessions that are over, in the order of each thing that becomes of one; those that live have no entry here, so a turn
create index sessions_ended_at_idx on public.sessions (workspace_id, ended_at, id) where ended_at is not null;
create index sessions_contact_opened_idx on public.sessions (contact_id, created_at, id) where ended_at is not null;
create index sessions_contact_first_message_idx on public.sessions (contact_id, first_message_at, id) where ended_at is not null;
create index sessions_contact_ended_idx on public.sessions (contact_id, ended_at, id) where ended_at is not null;
create index sessions_contact_archived_idx on public.sessions (contact_id, archived_at, id) where archived_at is not null;
create index sessions_contact_workflow_idx on public.sessions (contact_id) where workflow is not null or request_id is not null;

-- squawk-ignore adding-foreign-key-constraint, constraint-missing-not-valid
alter table public.contacts add constraint contacts_session_id_fkey foreign key (workspace_id, session_id)
        references public.sessions (workspace_id, id) on delete set null (session_id);

create table public.tags (
    id           uuid        not null default private.uuid7(),
    workspace_id uuid        not null,
    name         text        not null,
    contact_id   uuid,
    session_id   uuid,
    created_at   timestamptz not null default now(),
    constraint tags_pkey            primary key (id),
    constraint tags_contact_key     unique (contact_id, name),
    constraint tags_session_key     unique (session_id, name),
    constraint tags_contact_id_fkey foreign key (workspace_id, contact_id) references public.contacts (workspace_id, id) on delete cascade,
    constraint tags_session_id_fkey foreign key (workspace_id, session_id) references public.sessions (workspace_id, id) on delete cascade,
    constraint tags_one_owner       check (num_nonnulls(contact_id, session_id) = 1),
    constraint tags_name            check (length(name) between 1 and 64)
);
comment on table public.tags is 'One tag on one contact or one session.';
comment on column public.tags.name is 'Normalised once in lib/fields/tags.py: trimmed, NFC, lower case.';
alter table public.tags enable row level security;
create index tags_name_idx on public.tags (workspace_id, name, contact_id, session_id);

create table public.session_reasons (
    id           uuid                  not null default private.uuid7(),
    workspace_id uuid                  not null,
    session_id   uuid                  not null,
    status       public.session_status not null,
    reason       text                  not null,
    created_at   timestamptz           not null default now(),
    constraint session_reasons_pkey            primary key (id),
    constraint session_reasons_session_id_fkey foreign key (workspace_id, session_id) references public.sessions (workspace_id, id) on delete cascade,
    constraint session_reasons_reason          check (length(reason) between 1 and 500)
);
comment on table public.session_reasons is 'Why a session was paused, completed, failed or cancelled, in the words of the member or contact who did it.';
comment on column public.session_reasons.created_at is 'That of the audit event of the same change, which names its author.';
alter table public.session_reasons enable row level security;
create index session_reasons_session_id_idx on public.session_reasons (session_id, created_at);

create function private.own_sessions()
    returns setof uuid language sql stable cost 1 rows 1 security definer set search_path = ''
as $$
    select s.id
      from public.sessions s
     where s.user_id = (select auth.uid())
       and (s.contact_id is not null or s.workspace_id in (select private.member_workspaces()))
    union
    select s.id
      from public.sessions s
     where s.assigned_user_id = (select auth.uid())
       and s.workspace_id in (select private.member_workspaces())
    union
    select s.id
      from public.sessions s
     where s.opened_by_key_id = (select auth.uid())
       and s.workspace_id in (select private.member_workspaces());
$$;
comment on function private.own_sessions is 'The sessions of the signed-in user or API key (the owner''s side only for a member), those assigned to the user as a member, and those that the key opened.';

create function private.find_or_create_session(conversation public.conversations, metadata jsonb)
    returns public.sessions language plpgsql set search_path = ''
as $$
declare
    session public.sessions;
begin
    select s.* into session
      from public.sessions s
     where s.conversation_id = conversation.id
       and s.status in ('active', 'paused')
       for no key update;
    if not found then
        insert into public.sessions (workspace_id, conversation_id, contact_id, user_id, persona_id, space_id, channel, metadata)
        values (conversation.workspace_id, conversation.id, conversation.contact_id, conversation.user_id,
                conversation.persona_id, conversation.space_id, conversation.channel, find_or_create_session.metadata)
        returning * into session;
        -- The link to the contact's first session is set once.
        update public.contacts c
           set session_id = session.id
         where c.id = conversation.contact_id
           and c.session_id is null;
    end if;
    return session;
end;
$$;
comment on function private.find_or_create_session is 'The live session of a locked conversation, or a new one; a contact without a session is linked to it.';

create function private.transition_refusal(facts jsonb)
    returns jsonb language sql immutable set search_path = ''
as $$
    select '{"status": 409, "code": "transition_not_allowed"}' || facts;
$$;
comment on function private.transition_refusal is 'The refusal of a change that the state of a session, quote or proposal does not allow; facts name the object and its state.';

create function private.refuse_transition(session public.sessions)
    returns jsonb language sql set search_path = ''
as $$
    select private.refuse(private.transition_refusal(
               jsonb_build_object('session_id', session.id, 'session_status', session.status)));
$$;
comment on function private.refuse_transition is 'Returns the refusal of a change that the session''s state does not allow.';

create function private.require_live(session public.sessions)
    returns void language plpgsql set search_path = ''
as $$
begin
    if session.status not in ('active', 'paused') then
        perform private.raise_refusal(private.transition_refusal(
            jsonb_build_object('session_id', session.id, 'session_status', session.status)));
    end if;
end;
$$;
comment on function private.require_live is 'Raises SB001 with the refusal of a change if the session has ended.';

create function private.audit_resumed_session()
    returns trigger language plpgsql set search_path = ''
as $$
begin
    insert into public.audit_events (workspace_id, verb, object_id, actor_id)
    values (new.workspace_id, 'session.resumed', new.id, private.calling_actor());
    return null;
end;
$$;
comment on function private.audit_resumed_session is 'Audits the resume of a session, by a member or by the contact''s message.';

create function private.may_work_on_session(session public.sessions)
    returns boolean language sql stable set search_path = ''
as $$
    select exists (select
                     from private.memberships(c.caller) m
                    where m.workspace_id = session.workspace_id
                      and (m.role in ('owner', 'admin')
                           or c.caller in (session.user_id, session.assigned_user_id, session.opened_by_key_id)))
      from (select private.calling_user() as caller) c;
$$;
comment on function private.may_work_on_session is 'Whether the caller is a member who may work on the session: owners and admins on all, agents on their own and assigned ones, an agent''s API key also on those that it opened.';

create function private.set_session_status(session public.sessions, status public.session_status, reason text)
    returns void language plpgsql set search_path = ''
as $$
begin
    update public.sessions s
       set status        = set_session_status.status,
           ended_at      = case when set_session_status.status not in ('active', 'paused') then clock_timestamp() end,
           error_message = case when set_session_status.status = 'failed' then 'failed_by_member' else s.error_message end
     where s.id = session.id
       and s.status <> set_session_status.status;
    -- The resume of a session is audited by a trigger, since a contact's message resumes it too.
    if status <> 'active' then
        perform private.record_audit('session.' || status, session.id, private.calling_actor(), null);
        insert into public.session_reasons (workspace_id, session_id, status, reason)
        select session.workspace_id, session.id, set_session_status.status, set_session_status.reason
         where set_session_status.reason is not null;
    end if;
end;
$$;
comment on function private.set_session_status is 'Gives a locked session a status, audits it, and stores the reason.';

create function public.change_session_status(
    session_id   uuid,
    status       public.session_status,
    reason       text default null,
    stopped_turn uuid default null
)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    session public.sessions;
    turn    public.turns;
    changed boolean          := false;
    ends    constant boolean := status in ('completed', 'failed', 'cancelled');
begin
    if not ends and status not in ('active', 'paused') then
        raise sqlstate 'PT422' using message = 'invalid_body', detail = 'status_not_settable';
    end if;
    -- The management scope gives no access to sessions.
    if private.claims() -> 'scope' ? 'management' then
        raise sqlstate 'PT404' using message = 'session_not_found';
    end if;
    perform private.enter_session(session_id);
    -- Locks in the order of start_turn: conversation, session, turn.
    perform
       from public.conversations c
      where c.id = (select s.conversation_id from public.sessions s where s.id = change_session_status.session_id)
        for no key update;
    select s.* into strict session from public.sessions s where s.id = change_session_status.session_id for no key update;
    if status <> 'cancelled' and not private.may_work_on_session(session) then
        raise sqlstate 'PT403' using message = 'forbidden', detail = 'members_only';
    end if;

    if session.status not in ('active', 'paused') and session.status <> status then
        return private.refuse_transition(session);
    end if;
    if session.status <> status and ends then
        select t.* into turn from public.turns t where t.session_id = session.id and t.status = 'active' for no key update;
        if private.stop_session_turn(session.id) is not null then
            return private.refuse(jsonb_build_object(
                'status', 409, 'code', 'turn_in_progress', 'retry_after', 1, 'stopping', true,
                'turn_id', turn.id, 'session_id', session.id, 'first', turn.cancel_requested_at is null));
        end if;
        select s.* into strict session from public.sessions s where s.id = change_session_status.session_id;
        if session.status not in ('active', 'paused') and session.status <> status then
            return private.refuse_transition(session);
        end if;
    end if;

    -- A per_message session ends with its turn: the call that stopped the turn has ended the session.
    if session.status <> status
       or exists (select
                    from public.turns t
                    join public.personas p on p.id = session.persona_id and p.session_policy = 'per_message'
                   where t.id = stopped_turn
                     and t.session_id = session.id) then
        perform private.set_session_status(session, status, reason);
        changed := true;
    end if;
    return jsonb_build_object(
        'session_id', session.id, 'conversation_id', session.conversation_id, 'status', status, 'changed', changed);
end;
$$;
comment on function public.change_session_status is 'Pauses, resumes, completes, fails or cancels a session: {session_id, conversation_id, status, changed}. Its running turn is stopped first: while that takes, the call is refused with stopping: true and is to be repeated, by the call that was the first to stop it (first: true) with the turn as stopped_turn. Of several calls, one has changed: true.';

create function public.cancel_session(session_id uuid, reason text default null, stopped_turn uuid default null)
    returns jsonb language sql security definer set search_path = ''
as $$
    select public.change_session_status(session_id, 'cancelled', reason, stopped_turn);
$$;
comment on function public.cancel_session is 'Cancels any session, as change_session_status does: for operators'' commands.';

create function private.enter_contact_as_member(contact_id uuid)
    returns public.member_role language plpgsql security definer set search_path = ''
as $$
declare
    workspace uuid;
    role      public.member_role;
begin
    select m.workspace_id, m.role into workspace, role
      from public.contacts c
      join private.memberships(private.calling_user()) m on m.workspace_id = c.workspace_id
     where c.id = enter_contact_as_member.contact_id
       and not coalesce(private.claims() -> 'scope' ? 'management', false);
    if not found then
        raise sqlstate 'PT404' using message = 'contact_not_found';
    end if;
    perform set_config('switchboard.workspace_id', workspace::text, true);
    return role;
end;
$$;
comment on function private.enter_contact_as_member is 'Enters the workspace of a contact as a member and returns the member''s role; 404 for other callers.';

create function private.enter_conversation_as_member(conversation_id uuid)
    returns public.member_role language plpgsql security definer set search_path = ''
as $$
declare
    caller    constant uuid := private.calling_user();
    workspace uuid;
    role      public.member_role;
begin
    select m.workspace_id, m.role into workspace, role
      from public.conversations c
      join private.memberships(caller) m on m.workspace_id = c.workspace_id
     where c.id = enter_conversation_as_member.conversation_id
       and not coalesce(private.claims() -> 'scope' ? 'management', false)
       -- The owner's side is between a member and the persona.
       and (c.contact_id is not null or c.user_id = caller);
    if not found then
        raise sqlstate 'PT404' using message = 'conversation_not_found';
    end if;
    perform set_config('switchboard.workspace_id', workspace::text, true);
    return role;
end;
$$;
comment on function private.enter_conversation_as_member is 'Enters the workspace of a conversation as a member and returns the member''s role; 404 for other callers, and for the conversations of members themselves.';

create function private.lock_conversation(conversation_id uuid)
    returns public.conversations language plpgsql set search_path = ''
as $$
declare
    conversation public.conversations;
begin
    -- The contact is locked before the conversation, because a new session may be linked to it.
    perform private.lock_merge_target(c.contact_id)
       from public.conversations c
      where c.id = lock_conversation.conversation_id
        and c.contact_id is not null;
    select c.* into conversation from public.conversations c where c.id = lock_conversation.conversation_id for no key update;
    return conversation;
end;
$$;
comment on function private.lock_conversation is 'A conversation of the entered workspace, locked with its contact.';

create function private.open_conversation_for_contact(
    contact_id uuid, role public.member_role, space public.spaces, persona_id uuid, thread_key text)
    returns public.conversations language plpgsql set search_path = ''
as $$
declare
    wanted       uuid := coalesce(persona_id, space.persona_id);
    contact      uuid;
    conversation public.conversations;
begin
    if thread_key ~ '^(arrival|first):' then
        raise sqlstate 'PT422' using message = 'thread_key_not_allowed', detail = 'thread_key_reserved';
    end if;
    if wanted is null then
        select case when count(*) = 1 then (array_agg(p.id))[1] end into wanted
          from public.personas p
         where p.workspace_id = private.entered_workspace()
           and p.enabled;
        if wanted is null then
            raise sqlstate 'PT422' using message = 'persona_required';
        end if;
    end if;
    if not exists (select from public.personas p where p.id = wanted and p.enabled) then
        raise sqlstate 'PT404' using message = 'persona_not_found';
    end if;
    -- The contact is locked before the conversation, because a new session may be linked to it.
    contact := private.lock_merge_target(contact_id);
    if thread_key is null then
        select c.* into conversation
          from public.conversations c
         where c.id = private.find_follow_up_conversation(contact, role, wanted)
           for no key update;
        if found then
            return conversation;
        end if;
    end if;
    return private.find_or_create_conversation(contact, null, wanted, space.id, coalesce(thread_key, 'main'), 'verified');
end;
$$;
comment on function private.open_conversation_for_contact is 'The conversation that a member opens for a contact, with the named persona, the space''s, or the workspace''s only one: without a thread key, the one that the contact reads; locked until the transaction ends.';

create type private.opened_session as (session public.sessions, is_new boolean);
comment on type private.opened_session is 'The live session of a conversation, and whether it was created just now.';

create function private.open_session(conversation public.conversations, metadata jsonb, role public.member_role)
    returns private.opened_session language plpgsql set search_path = ''
as $$
declare
    is_key constant boolean := private.calling_kind() = 'key';
    opened private.opened_session;
begin
    -- Locked first, so that a session which ends at this moment is not taken for the one after it.
    perform
       from public.sessions s
      where s.conversation_id = conversation.id
        and s.status in ('active', 'paused')
        for no key update;
    opened.is_new  := not found;
    opened.session := private.find_or_create_session(conversation, metadata);
    if opened.is_new then
        if role = 'agent' then
            -- An agent sees only own and assigned sessions, an agent's key those that it opened.
            update public.sessions s
               set assigned_user_id = case when not is_key then private.calling_actor() end,
                   opened_by_key_id = case when is_key then private.calling_actor() end
             where s.id = (opened.session).id;
        end if;
        perform private.record_audit('session.started', (opened.session).id, private.calling_actor(), null);
    elsif role = 'agent' and not private.may_work_on_session(opened.session) then
        raise sqlstate 'PT403' using message = 'forbidden', detail = 'contact_not_assigned';
    end if;
    return opened;
end;
$$;
comment on function private.open_session is 'The live session of a locked conversation, or a new one; role is that of the member who opens it, null for a contact or user.';

create function private.take_start_limits(conversation public.conversations, space public.spaces, client jsonb)
    returns void language plpgsql set search_path = ''
as $$
declare
    caller constant jsonb := private.claims() -> 'caller';
    limits jsonb;
begin
    if space.id is null then
        select s.* into space from public.spaces s where s.id = conversation.space_id;
    end if;
    select private.message_limits(w, space, client ->> 'address') into strict limits
      from public.workspaces w
     where w.id = conversation.workspace_id;
    if caller ->> 'kind' = 'user' and conversation.contact_id is not null and conversation.created_at = now() then
        limits := private.arrival_limits(space, client ->> 'address') || limits;
    end if;
    perform private.take_limits(limits);
end;
$$;
comment on function private.take_start_limits is 'Counts the start of a session by a contact or user as a message, and a user''s new conversation as an arrival.';

create function public.start_session(
    contact_id      uuid  default null,
    space_id        uuid  default null,
    persona_id      uuid  default null,
    thread_key      text  default null,
    context         jsonb default '{}',
    client          jsonb default '{}',
    template        text  default null,
    conversation_id uuid  default null
)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    caller       constant jsonb := private.claims() -> 'caller';
    facts        jsonb := client;
    role         public.member_role;
    space        public.spaces;
    conversation public.conversations;
    opened       private.opened_session;
    session      public.sessions;
    preset       public.session_templates;
    refusal      text;
begin
    if coalesce(caller ->> 'kind', '') not in ('contact', 'user', 'key') then
        raise sqlstate 'PT403' using message = 'forbidden';
    end if;
    if conversation_id is not null then
        role := private.enter_conversation_as_member(conversation_id);
    elsif contact_id is not null and caller ->> 'kind' <> 'contact' then
        role := private.enter_contact_as_member(contact_id);
    else
        if space_id is not null then
            perform private.enter_space(space_id);
        else
            perform private.enter();
            perform private.require_valid_token();
        end if;
        if contact_id <> (caller ->> 'contact_id')::uuid then
            raise sqlstate 'PT404' using message = 'contact_not_found';
        end if;
    end if;
    if space_id is not null then
        select s.* into space from public.spaces s where s.id = start_session.space_id and s.enabled;
        if not found then
            raise sqlstate 'PT404' using message = 'space_not_found';
        end if;
    end if;
    if template is not null then
        -- Only members learn whether a template exists.
        if role is null and not private.is_member(private.calling_user()) then
            raise sqlstate 'PT403' using message = 'forbidden', detail = 'members_only';
        end if;
        preset := private.require_template(template);
        facts  := facts || jsonb_build_object('template', preset.name);
    end if;
    if coalesce(preset.metadata, '{}') || context <> '{}' then
        facts := facts || jsonb_build_object('context', coalesce(preset.metadata, '{}') || context);
    end if;

    begin
        conversation := case
            when conversation_id is not null then private.lock_conversation(conversation_id)
            when role is not null            then private.open_conversation_for_contact(
                                                      contact_id, role, space, coalesce(persona_id, preset.persona_id), thread_key)
            else private.open_conversation(space, null, null, null, null, thread_key, null, client) end;
        if not exists (select
                         from public.personas p
                        where p.id = conversation.persona_id
                          and p.enabled
                          and p.id = coalesce(start_session.persona_id, preset.persona_id, p.id)) then
            raise sqlstate 'PT404' using message = 'persona_not_found';
        end if;
        opened  := private.open_session(conversation, facts, role);
        session := opened.session;
        if opened.is_new then
            if preset.id is not null then
                session := private.apply_template(session, preset);
            end if;
            if role is null then
                perform private.take_start_limits(conversation, space, client);
            end if;
        elsif preset.id is not null then
            session := private.say_first_messages(session, preset);
        end if;
    exception when sqlstate 'SB001' then
        get stacked diagnostics refusal = pg_exception_detail;
        return private.count_and_refuse(refusal::jsonb);
    end;
    return jsonb_build_object(
        'session_id', session.id, 'conversation_id', session.conversation_id, 'contact_id', session.contact_id,
        'user_id', session.user_id, 'persona_id', session.persona_id, 'status', session.status,
        'created_at', session.created_at, 'created', opened.is_new);
end;
$$;
comment on function public.start_session is 'The live session of a conversation, or a new one: opened by a member for a contact or in a conversation, by a contact, or by a user in a space; a member can name a template. {session_id, conversation_id, status, created, …}';

create function public.set_session_tags(
    session_id uuid,
    names      text[] default null,
    added      text   default null,
    removed    text   default null
)
    returns jsonb language plpgsql set search_path = ''
as $$
begin
    perform private.enter_session(session_id);
    -- Tags are visible to members only.
    if private.caller_role(private.entered_workspace()) is null then
        raise sqlstate 'PT404' using message = 'session_not_found';
    end if;
    perform from public.sessions s where s.id = set_session_tags.session_id for no key update;
    if private.change_tags(private.entered_workspace(), null, session_id, names, added, removed) then
        perform private.record_change(private.entered_workspace(), 'session.tagged', session_id);
    end if;
    return (select jsonb_build_object('tags', coalesce(jsonb_agg(t.name order by t.name), '[]'))
              from public.tags t
             where t.session_id = set_session_tags.session_id);
end;
$$;
comment on function public.set_session_tags is 'Replaces a session''s tags, or adds or removes one, for members who may see the session, and the service role: {tags}.';

create function public.change_sessions_status(
    session_ids   uuid[],
    status        public.session_status,
    reason        text   default null,
    stopped_turns uuid[] default '{}'
)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    most    constant integer := 100;
    asked   constant uuid[]  := array(select distinct i from unnest(session_ids) i where i is not null order by i);
    one     uuid;
    places  jsonb            := '[]'::jsonb;
    entered uuid;
    changed jsonb;
    code    text;
    items   jsonb            := '[]'::jsonb;
begin
    if cardinality(asked) > most then
        raise sqlstate 'PT422' using message = 'invalid_body', detail = 'too_many_sessions';
    end if;
    if status not in ('active', 'paused', 'completed', 'failed', 'cancelled') then
        raise sqlstate 'PT422' using message = 'invalid_body', detail = 'status_not_settable';
    end if;
    foreach one in array asked loop
        begin
            perform private.enter_session(one);
            places := places || (select jsonb_build_object(
                                            'id', s.id, 'workspace_id', s.workspace_id, 'conversation_id', s.conversation_id,
                                            'persona_id', s.persona_id)
                                   from public.sessions s
                                  where s.id = one);
        exception when sqlstate 'PT404' then
            items := items || jsonb_build_object('id', one, 'code', 'session_not_found');
        end;
    end loop;

    -- All conversations before all sessions, each in the order of ids, so that two calls cannot deadlock.
    for entered in select distinct p.workspace_id from jsonb_to_recordset(places) p (workspace_id uuid) order by 1 loop
        perform set_config('switchboard.workspace_id', entered::text, true);
        perform
           from public.conversations c
          where c.id in (select p.conversation_id
                           from jsonb_to_recordset(places) p (workspace_id uuid, conversation_id uuid)
                          where p.workspace_id = entered)
          order by c.id
            for no key update;
    end loop;
    for entered in select distinct p.workspace_id from jsonb_to_recordset(places) p (workspace_id uuid) order by 1 loop
        perform set_config('switchboard.workspace_id', entered::text, true);
        perform
           from public.sessions s
          where s.id in (select p.id from jsonb_to_recordset(places) p (id uuid, workspace_id uuid) where p.workspace_id = entered)
          order by s.id
            for no key update;
    end loop;

    -- Ordered by persona, because ending a turn may lock the persona's breaker; the sweep of turns has the same order.
    for one in select p.id from jsonb_to_recordset(places) p (id uuid, persona_id uuid) order by p.persona_id, p.id loop
        begin
            changed := public.change_session_status(
                one, status, reason,
                (select t.id from public.turns t where t.id = any (stopped_turns) and t.session_id = one));
        exception when sqlstate 'PT403' or sqlstate 'PT404' then
            get stacked diagnostics code = message_text;
            changed := jsonb_build_object('code', code);
        end;
        items := items || (changed - '{session_id,conversation_id}'::text[] || jsonb_build_object('id', one));
    end loop;
    -- The refusal of one session is not the status of the response.
    perform set_config('response.status', '', true);
    perform set_config('response.headers', '', true);
    return jsonb_build_object('items', items);
end;
$$;
comment on function public.change_sessions_status is 'change_session_status for up to 100 sessions: {items}, each {id, status, changed} or {id, code, …}; those with stopping: true are to be repeated, with the turns that this call was the first to stop.';

create function private.set_updated_at()
    returns trigger language plpgsql set search_path = ''
as $$
begin
    new.updated_at := clock_timestamp();
    return new;
end;
$$;
comment on function private.set_updated_at is 'Notes the time of a change in updated_at.';

create function private.set_first_message_at()
    returns trigger language plpgsql set search_path = ''
as $$
begin
    new.first_message_at := new.last_activity_at;
    return new;
end;
$$;
comment on function private.set_first_message_at is 'Sets the time of the session''s first message.';

create trigger sessions_audit_resumed
    after update of status on public.sessions
    for each row
    when (old.status = 'paused' and new.status = 'active')
    execute function private.audit_resumed_session();

-- An incoming message updates last_activity_at; messages of the persona or a member do not, and a recovery adds no message.
create trigger sessions_note_first_message
    before update of message_count on public.sessions
    for each row
    when (old.first_message_at is null and new.message_count > old.message_count and new.last_activity_at <> old.last_activity_at)
    execute function private.set_first_message_at();

create trigger sessions_note_first_message_at_once
    before insert on public.sessions
    for each row
    when (new.first_message_at is null and new.turn_count > 0)
    execute function private.set_first_message_at();

-- Not for the two changes of every turn, which set it themselves.
create trigger sessions_set_updated_at
    before update on public.sessions
    for each row
    when (new.updated_at = old.updated_at)
    execute function private.set_updated_at();

grant execute on function
    private.own_sessions
    to authenticated;

grant execute on function
    private.find_or_create_session, private.transition_refusal, private.refuse_transition, private.require_live,
    private.open_session, private.take_start_limits, private.may_work_on_session,
    private.set_session_status, public.change_session_status, private.enter_contact_as_member, private.enter_conversation_as_member,
    private.open_conversation_for_contact, public.start_session,
    public.change_sessions_status
    to switchboard;

grant execute on function
    private.lock_conversation, public.set_session_tags
    to service_role, switchboard;

grant execute on function
    public.cancel_session
    to service_role;
