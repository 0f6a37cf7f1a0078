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
    private.may_work_on_session, private.set_session_status
    to switchboard;
