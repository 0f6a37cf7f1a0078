-- Generated from supabase/schemas/46_takeover.sql.
set lock_timeout = '5s';
set statement_timeout = '60s';
set check_function_bodies = off;

-- Takeover: a member answers in the place of the persona.

create function private.end_takeover()
    returns trigger language plpgsql set search_path = ''
as $$
begin
    new.taken_over_by := null;
    new.taken_over_at := null;
    return new;
end;
$$;
comment on function private.end_takeover is 'Ends a takeover when the session ends or the member leaves.';

create function private.audit_handed_back()
    returns trigger language plpgsql set search_path = ''
as $$
begin
    insert into public.audit_events (workspace_id, verb, object_id, actor_id, code)
    select new.workspace_id, 'session.handed_back', new.id, private.calling_actor(),
           case when new.status not in ('active', 'paused') then 'session_ended'
                when not exists (select
                                   from public.workspace_members m
                                  where m.workspace_id = old.workspace_id
                                    and m.user_id = old.taken_over_by) then 'unattended' end
     -- A workspace that is being deleted loses its members before its sessions, and keeps no audit.
     where exists (select from public.workspaces w where w.id = new.workspace_id);
    return null;
end;
$$;
comment on function private.audit_handed_back is 'Audits the end of a takeover; the code is the cause if no member handed it back.';

-- Removed members are handled by the foreign key; this trigger handles a change of role.
create function private.hand_back_demoted()
    returns trigger language plpgsql set search_path = ''
as $$
begin
    -- A concurrent takeover holds a key share lock of this row: wait for it.
    perform
       from public.workspace_members m
      where m.workspace_id = new.workspace_id
        and m.user_id = new.user_id
        for update;
    update public.sessions s
       set taken_over_by = null
     where s.workspace_id = new.workspace_id
       and s.taken_over_by = new.user_id
       and s.user_id is distinct from new.user_id
       and s.assigned_user_id is distinct from new.user_id;
    return null;
end;
$$;
comment on function private.hand_back_demoted is 'Hands back the sessions that a member took over as owner or admin and may not see as the agent the member becomes.';

create function private.lock_session_to_work_on(session_id uuid)
    returns public.sessions language plpgsql set search_path = ''
as $$
declare
    session public.sessions;
begin
    -- The management scope gives no access to sessions.
    if private.claims() -> 'scope' ? 'management' then
        raise sqlstate 'PT404' using message = 'session_not_found';
    end if;
    perform private.enter_session(session_id);
    -- Locks in the order of start_turn: conversation, session.
    perform
       from public.conversations c
      where c.id = (select s.conversation_id from public.sessions s where s.id = lock_session_to_work_on.session_id)
        for no key update;
    select s.* into strict session from public.sessions s where s.id = lock_session_to_work_on.session_id for no key update;
    if not private.may_work_on_session(session) then
        raise sqlstate 'PT403' using message = 'forbidden', detail = 'members_only';
    end if;
    return session;
end;
$$;
comment on function private.lock_session_to_work_on is 'Enters the workspace of a session that the caller works on as a member, and locks it with its conversation; 404 if the caller may not see it.';

create function private.administers_workspace(workspace_id uuid)
    returns boolean language plpgsql stable set search_path = ''
as $$
begin
    return exists (select
                     from private.memberships(private.calling_user()) m
                    where m.workspace_id = administers_workspace.workspace_id
                      and m.role in ('owner', 'admin'));
end;
$$;
comment on function private.administers_workspace is 'Whether the caller is an owner or admin of a workspace.';

create function private.refuse_taken_over(session public.sessions)
    returns jsonb language plpgsql set search_path = ''
as $$
begin
    return private.refuse(jsonb_build_object(
               'status', 409, 'code', 'taken_over',
               'session_id', session.id, 'taken_over_by', session.taken_over_by));
end;
$$;
comment on function private.refuse_taken_over is 'Returns the refusal for a session that another member has taken over.';

create function private.describe_takeover(session_id uuid, changed boolean)
    returns jsonb language plpgsql stable set search_path = ''
as $$
begin
    return (select jsonb_build_object(
                       'session_id', s.id, 'conversation_id', s.conversation_id, 'status', s.status,
                       'taken_over_by', s.taken_over_by, 'taken_over_at', s.taken_over_at,
                       'assigned_user_id', s.assigned_user_id, 'changed', describe_takeover.changed)
              from public.sessions s
             where s.id = describe_takeover.session_id);
end;
$$;
comment on function private.describe_takeover is 'Who answers in a session, and who is assigned to it.';

create function public.take_over_session(session_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    session public.sessions := private.lock_session_to_work_on(session_id);
    member  constant uuid   := private.calling_actor();
    changed boolean         := false;
begin
    perform private.require_user();
    if session.status not in ('active', 'paused') then
        return private.refuse_transition(session);
    elsif session.taken_over_by <> member then
        return private.refuse_taken_over(session);
    end if;
    if session.taken_over_by is null then
        begin
            update public.sessions s
               set taken_over_by = member, taken_over_at = clock_timestamp(),
                   -- The member is also assigned, unless another one is.
                   assigned_user_id = coalesce(s.assigned_user_id, member)
             where s.id = session.id
            returning s.* into session;
        exception when foreign_key_violation then
            -- The member was removed from the workspace at this moment.
            raise sqlstate 'PT404' using message = 'session_not_found';
        end;
        -- Or became an agent who may not see it: the check of the foreign key waited for that.
        if not private.may_work_on_session(session) then
            raise sqlstate 'PT404' using message = 'session_not_found';
        end if;
        perform private.record_audit('session.taken_over', session.id, member, null);
        changed := true;
    end if;
    -- No new answer starts from here on. The running one is stopped; its visible text is kept.
    return private.describe_takeover(session.id, changed)
           || jsonb_build_object('stopping', private.stop_session_turn(session.id) is not null);
end;
$$;
comment on function public.take_over_session is 'Lets a member answer in place of the persona: {session_id, conversation_id, status, taken_over_by, taken_over_at, assigned_user_id, changed, stopping}. stopping: the persona''s running answer is being stopped; repeat the call until it has.';

create function public.hand_back_session(session_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    session constant public.sessions := private.lock_session_to_work_on(session_id);
begin
    if session.taken_over_by <> private.calling_actor() and not private.administers_workspace(session.workspace_id) then
        return private.refuse_taken_over(session);
    end if;
    -- Audited by a trigger, because the end of a session hands it back too.
    update public.sessions s
       set taken_over_by = null
     where s.id = session.id
       and s.taken_over_by is not null;
    return private.describe_takeover(session.id, session.taken_over_by is not null);
end;
$$;
comment on function public.hand_back_session is 'Lets the persona answer again, for the member who took the session over, or an owner or admin: {session_id, conversation_id, status, taken_over_by, taken_over_at, assigned_user_id, changed}.';

create function private.describe_message(message public.messages, created boolean)
    returns jsonb language plpgsql stable set search_path = ''
as $$
begin
    return jsonb_build_object(
        'message_id', message.id, 'session_id', message.session_id, 'conversation_id', message.conversation_id,
        'role', message.role, 'text', message.text, 'created_at', message.created_at, 'created', created);
end;
$$;
comment on function private.describe_message is 'A message without a turn, for its sender.';

create function public.say_as_member(session_id uuid, text text, client_message_id text default null)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    session constant public.sessions := private.lock_session_to_work_on(session_id);
    member  constant uuid            := private.calling_actor();
    message public.messages;
begin
    -- A repeat of the message returns it, even if the session was handed back or ended since.
    select m.* into message
      from public.messages m
     where m.conversation_id = session.conversation_id
       and m.session_id = session.id
       and m.client_message_id = say_as_member.client_message_id;
    if found then
        perform private.require_same_content((message.role, message.user_id, message.text) = ('member', member, say_as_member.text));
        return private.describe_message(message, false);
    end if;
    if session.status not in ('active', 'paused') then
        return private.refuse_transition(session);
    elsif session.taken_over_by is null then
        return private.refuse(jsonb_build_object(
            'status', 409, 'code', 'not_taken_over', 'session_id', session.id));
    elsif session.taken_over_by <> member then
        return private.refuse_taken_over(session);
    end if;
    -- The session is locked, so that messages become visible in the order of created_at.
    insert into public.messages (workspace_id, conversation_id, session_id, role, user_id, text, client_message_id)
    values (session.workspace_id, session.conversation_id, session.id, 'member', member,
            say_as_member.text, say_as_member.client_message_id)
    returning * into message;
    -- Only incoming messages restart the idle timeout.
    update public.sessions s set message_count = s.message_count + 1 where s.id = session.id;
    perform private.queue_sending(message.id, message.conversation_id) where session.channel <> 'web';
    return private.describe_message(message, true);
end;
$$;
comment on function public.say_as_member is 'Adds a message of the member who took the session over: {message_id, session_id, conversation_id, role, text, created_at, created}. A repeat with the same client_message_id returns the first message, with another text or sender it is refused.';

create function public.assign_session(session_id uuid, user_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    session public.sessions := private.lock_session_to_work_on(session_id);
begin
    if not private.administers_workspace(session.workspace_id) then
        raise sqlstate 'PT403' using message = 'forbidden', detail = 'owners_and_admins_only';
    end if;
    if user_id is not null and not exists (select
                                             from public.workspace_members m
                                            where m.workspace_id = session.workspace_id
                                              and m.user_id = assign_session.user_id) then
        raise sqlstate 'PT404' using message = 'member_not_found';
    end if;
    if session.assigned_user_id is not distinct from user_id then
        return private.describe_takeover(session.id, false);
    end if;
    update public.sessions s
       set assigned_user_id = assign_session.user_id,
           -- A takeover ends if its agent may no longer work on the session.
           taken_over_by = (select m.user_id
                              from public.workspace_members m
                             where m.workspace_id = s.workspace_id
                               and m.user_id = s.taken_over_by
                               and (m.role in ('owner', 'admin') or m.user_id in (s.user_id, assign_session.user_id)))
     where s.id = session.id;
    perform private.record_audit('session.assigned', session.id, private.calling_actor(), null);
    return private.describe_takeover(session.id, true);
end;
$$;
comment on function public.assign_session is 'Assigns a session to a member, or to none (null), for owners and admins: {session_id, conversation_id, status, taken_over_by, taken_over_at, assigned_user_id, changed}.';

create trigger sessions_audit_handed_back
    after update on public.sessions
    for each row
    when (old.taken_over_by is not null and new.taken_over_by is null)
    execute function private.audit_handed_back();

create trigger sessions_end_takeover
    before update on public.sessions
    for each row
    when (old.taken_over_by is not null and (new.taken_over_by is null or new.status not in ('active', 'paused')))
    execute function private.end_takeover();

create trigger workspace_members_hand_back
    after update of role on public.workspace_members
    for each row
    when (old.role <> 'agent' and new.role = 'agent')
    execute function private.hand_back_demoted();

grant execute on function
    private.lock_session_to_work_on, private.administers_workspace, private.refuse_taken_over, private.describe_takeover,
    public.take_over_session, public.hand_back_session, private.describe_message, public.say_as_member,
    public.assign_session
    to switchboard;
