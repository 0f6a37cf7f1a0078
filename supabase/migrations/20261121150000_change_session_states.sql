-- What a member does with a session, and how one is started without a message. Ending one stops its answer first, by the
-- same two phases as a turn's cancel, so that what its reader has seen is kept.

set lock_timeout = '5s';
set statement_timeout = '60s';

create function private.calling_actor()
    returns uuid
    language sql
    stable
    set search_path = ''
as $$
    select coalesce(c.caller ->> 'contact_id', c.caller ->> 'user_id')::uuid
      from (select private.claims() -> 'caller' as caller) c;
$$;
comment on function private.calling_actor() is 'The contact or user on whose behalf a function of ours calls; null for the system.';
grant execute on function private.calling_actor() to switchboard, service_role;

create function private.audit_resumed_session()
    returns trigger
    language plpgsql
    volatile
    set search_path = ''
as $$
begin
    insert into public.audit_events (workspace_id, verb, object_id, actor_id)
    values (new.workspace_id, 'session.resumed', new.id, private.calling_actor());
    return null;
end;
$$;
comment on function private.audit_resumed_session() is 'Audits that a paused session goes on: a member resumed it, or its contact wrote.';

create trigger sessions_audit_resumed
    after update of status on public.sessions
    for each row
    when (old.status = 'paused' and new.status = 'active')
    execute function private.audit_resumed_session();

create function private.works_on_session(session public.sessions)
    returns boolean
    language sql
    stable
    set search_path = ''
as $$
    select exists (select
                     from public.workspace_members m
                    where m.workspace_id = session.workspace_id
                      and private.claims() #>> '{caller,kind}' = 'user'
                      and m.user_id = (private.claims() #>> '{caller,user_id}')::uuid
                      and (m.role in ('owner', 'admin') or m.user_id in (session.user_id, session.assigned_user_id)));
$$;
comment on function private.works_on_session(public.sessions) is 'Whether the caller is a member whose session it is: owners and admins all, agents their own and assigned.';

create function public.change_session_status(session_id uuid, status public.session_status)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    session public.sessions;
    turn    public.turns;
    ends    constant boolean := status in ('completed', 'cancelled');
begin
    if not ends and status not in ('active', 'paused') then
        raise sqlstate 'PT422' using message = 'invalid_body', detail = 'A session is paused, resumed, completed or cancelled.';
    end if;
    -- A token for managing a workspace is for no session.
    if private.claims() -> 'scope' ? 'management' then
        raise sqlstate 'PT404' using message = 'session_not_found', detail = 'There is no such session.';
    end if;
    perform private.enter_session(session_id);
    -- The conversation before its sessions, the session before its turns, as start_turn locks them.
    perform
       from public.conversations c
      where c.id = (select s.conversation_id from public.sessions s where s.id = change_session_status.session_id)
        for no key update;
    select s.* into strict session from public.sessions s where s.id = change_session_status.session_id for no key update;
    if status <> 'cancelled' and not private.works_on_session(session) then
        raise sqlstate 'PT403' using message = 'forbidden', detail = 'Only members do this; a session of one''s own can be cancelled.';
    end if;

    if session.status not in ('active', 'paused') and session.status <> status then
        return private.refuse_transition(session);
    end if;
    if session.status <> status and ends then
        select t.* into turn from public.turns t where t.session_id = session.id and t.status = 'active' for no key update;
        if found then
            if turn.lease_until <= pg_catalog.clock_timestamp() then
                -- Whoever worked on it is gone; the sweep would say so within the minute.
                perform private.close_turn(turn, 'timeout', null, null, 'lease_expired', 'Nobody renewed the lease.', null);
            elsif not private.stop_turn(turn) then
                if turn.cancel_requested_at is null then
                    perform private.record_audit('turn.cancel_requested', turn.id, private.calling_actor(), null);
                end if;
                return private.refuse(pg_catalog.jsonb_build_object(
                    'status', 409, 'code', 'turn_in_progress', 'title', 'The last message is still being answered.',
                    'retry_after', 1, 'stopping', true, 'turn_id', turn.id, 'session_id', session.id));
            end if;
            -- A session of one message has ended with its turn.
            select s.* into strict session from public.sessions s where s.id = change_session_status.session_id;
            if session.status = status then
                return pg_catalog.jsonb_build_object(
                    'session_id', session.id, 'conversation_id', session.conversation_id, 'status', session.status, 'changed', true);
            elsif session.status not in ('active', 'paused') then
                return private.refuse_transition(session);
            end if;
        end if;
    end if;

    if session.status = status then
        return pg_catalog.jsonb_build_object(
            'session_id', session.id, 'conversation_id', session.conversation_id, 'status', session.status, 'changed', false);
    end if;
    update public.sessions s
       set status = change_session_status.status, ended_at = case when ends then pg_catalog.clock_timestamp() end
     where s.id = session.id;
    -- Going on is audited where it happens, since a contact's message does it too.
    if status <> 'active' then
        perform private.record_audit('session.' || status, session.id, private.calling_actor(), null);
    end if;
    return pg_catalog.jsonb_build_object(
        'session_id', session.id, 'conversation_id', session.conversation_id, 'status', status, 'changed', true);
end;
$$;
comment on function public.change_session_status(uuid, public.session_status) is
    'Pauses, resumes, completes or cancels a session: {session_id, conversation_id, status, changed}. Ending one stops its turn first; refused with stopping: true until it has stopped, ask again.';

grant execute on function private.works_on_session(public.sessions), public.change_session_status(uuid, public.session_status)
    to switchboard;

-- Starting ------------------------------------------------------------------------------------------------------------

create function private.enter_beside_contact(contact_id uuid)
    returns public.member_role
    language plpgsql
    volatile
    security definer
    set search_path = ''
as $$
declare
    caller    constant jsonb := private.claims() -> 'caller';
    workspace uuid;
    role      public.member_role;
begin
    select m.workspace_id, m.role into workspace, role
      from public.contacts c
      join public.workspace_members m on m.workspace_id = c.workspace_id
     where c.id = enter_beside_contact.contact_id
       and caller ->> 'kind' = 'user'
       and not coalesce(private.claims() -> 'scope' ? 'management', false)
       and m.user_id = (caller ->> 'user_id')::uuid;
    if not found then
        raise sqlstate 'PT404' using message = 'contact_not_found', detail = 'There is no such contact.';
    end if;
    perform pg_catalog.set_config('switchboard.workspace_id', workspace::text, true);
    return role;
end;
$$;
comment on function private.enter_beside_contact(uuid) is 'Enters the workspace of a contact that the caller is a member of, and gives their role; 404 for everybody else.';

create function private.open_for_contact(contact_id uuid, space public.spaces, persona_id uuid, thread_key text)
    returns public.conversations
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    wanted uuid := coalesce(persona_id, space.persona_id);
begin
    if thread_key ~ '^(arrival|first):' then
        raise sqlstate 'PT422' using message = 'thread_key_not_allowed', detail = 'Thread keys do not begin with arrival: or first:.';
    end if;
    if wanted is null then
        select case when pg_catalog.count(*) = 1 then (pg_catalog.array_agg(p.id))[1] end into wanted
          from public.personas p
         where p.workspace_id = private.entered_workspace()
           and p.enabled;
        if wanted is null then
            raise sqlstate 'PT422' using message = 'persona_required', detail = 'The workspace has several personas, or none.';
        end if;
    end if;
    if not exists (select from public.personas p where p.id = wanted and p.enabled) then
        raise sqlstate 'PT404' using message = 'persona_not_found', detail = 'There is no such persona.';
    end if;
    return private.find_or_create_conversation(contact_id, null, wanted, space.id, coalesce(thread_key, 'main'), 'verified');
end;
$$;
comment on function private.open_for_contact(uuid, public.spaces, uuid, text) is
    'The conversation that a member opens for a contact, with the named persona, the space''s, or the workspace''s only one; locked for this transaction.';

create function public.start_session(
    contact_id uuid  default null,
    space_id   uuid  default null,
    persona_id uuid  default null,
    thread_key text  default null,
    context    jsonb default '{}',
    client     jsonb default '{}'
)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    caller       constant jsonb := private.claims() -> 'caller';
    facts        constant jsonb := client || case when context = '{}' then '{}'
                                                  else pg_catalog.jsonb_build_object('context', context) end;
    role         public.member_role;
    workspace    public.workspaces;
    space        public.spaces;
    conversation public.conversations;
    session      public.sessions;
    is_new       boolean;
    limits       jsonb;
    refusal      text;
begin
    if coalesce(caller ->> 'kind', '') not in ('contact', 'user') then
        raise sqlstate 'PT403' using message = 'forbidden', detail = 'Sessions are started by contacts and users.';
    end if;
    if contact_id is not null and caller ->> 'kind' = 'user' then
        role := private.enter_beside_contact(contact_id);
    else
        if space_id is not null then
            perform private.enter_space(space_id);
        else
            perform private.enter();
        end if;
        if contact_id <> (caller ->> 'contact_id')::uuid then
            raise sqlstate 'PT404' using message = 'contact_not_found', detail = 'There is no such contact.';
        end if;
    end if;
    if space_id is not null then
        select s.* into space from public.spaces s where s.id = start_session.space_id and s.enabled;
        if not found then
            raise sqlstate 'PT404' using message = 'space_not_found', detail = 'There is no such space.';
        end if;
    end if;

    begin
        if role is not null then
            conversation := private.open_for_contact(contact_id, space, persona_id, thread_key);
        else
            conversation := private.open_conversation(space, null, null, null, thread_key, null, client);
            if not exists (select
                             from public.personas p
                            where p.id = conversation.persona_id
                              and p.enabled
                              and (start_session.persona_id is null or p.id = start_session.persona_id)) then
                raise sqlstate 'PT404' using message = 'persona_not_found', detail = 'There is no such persona here.';
            end if;
        end if;
        is_new  := not exists (select
                                 from public.sessions s
                                where s.conversation_id = conversation.id
                                  and s.status in ('active', 'paused'));
        session := private.find_or_create_session(conversation, facts);
        if role = 'agent' and is_new then
            -- Whoever opens it looks after it: an agent sees no other.
            update public.sessions s set assigned_user_id = private.calling_actor() where s.id = session.id;
        elsif role = 'agent' and not private.works_on_session(session) then
            raise sqlstate 'PT403' using message = 'forbidden', detail = 'The contact''s session is not assigned to you.';
        end if;
        if is_new then
            perform private.record_audit('session.started', session.id, private.calling_actor(), null);
            if role is null then
                -- As a message would, and a new conversation of a user as an arrival.
                if space.id is null then
                    select s.* into space from public.spaces s where s.id = conversation.space_id;
                end if;
                select w.* into strict workspace from public.workspaces w where w.id = conversation.workspace_id;
                limits := private.message_limits(workspace, space, client ->> 'address');
                if space.id is null then
                    limits := limits - 'messages_by_space';
                end if;
                if caller ->> 'kind' = 'user' and conversation.contact_id is not null and conversation.created_at = pg_catalog.now() then
                    limits := private.arrival_limits(space, client ->> 'address') || limits;
                end if;
                perform private.take_limits(limits);
            end if;
        end if;
    exception when sqlstate 'SB001' then
        get stacked diagnostics refusal = pg_exception_detail;
        perform private.count_refusal(refusal::jsonb);
        return private.refuse(refusal::jsonb - '{subject,object_id}'::text[]);
    end;
    return pg_catalog.jsonb_build_object(
        'session_id', session.id, 'conversation_id', session.conversation_id, 'contact_id', session.contact_id,
        'user_id', session.user_id, 'persona_id', session.persona_id, 'status', session.status,
        'created_at', session.created_at, 'created', is_new);
end;
$$;
comment on function public.start_session(uuid, uuid, uuid, text, jsonb, jsonb) is
    'The live session of a conversation, or a new one: a member''s for a contact, a contact''s own, a user''s own at a space. {session_id, conversation_id, status, created, …}';

grant execute on function
    private.enter_beside_contact(uuid), private.open_for_contact(uuid, public.spaces, uuid, text),
    public.start_session(uuid, uuid, uuid, text, jsonb, jsonb)
    to switchboard;
