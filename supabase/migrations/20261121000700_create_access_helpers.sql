-- What the policies ask: which workspaces, which conversations. Each is called once per query, inside (select …).
-- They read tables that are themselves under row-level security, hence security definer; docs/database.md lists them.

set lock_timeout = '5s';
set statement_timeout = '60s';

create function private.member_workspaces()
    returns setof uuid
    language sql
    stable
    security definer
    set search_path = ''
as $$
    select m.workspace_id
      from public.workspace_members m
     where m.user_id = (select auth.uid());
$$;
comment on function private.member_workspaces() is 'The workspaces the signed-in user is a member of.';

create function private.admin_workspaces()
    returns setof uuid
    language sql
    stable
    security definer
    set search_path = ''
as $$
    select m.workspace_id
      from public.workspace_members m
     where m.user_id = (select auth.uid())
       and m.role in ('owner', 'admin');
$$;
comment on function private.admin_workspaces() is 'The workspaces the signed-in user owns or administers.';

create function private.own_conversations()
    returns setof uuid
    language sql
    stable
    security definer
    set search_path = ''
as $$
    select c.id
      from public.conversations c
     where c.user_id = (select auth.uid())
       and (c.contact_id is not null or c.workspace_id in (select private.member_workspaces()))
    union
    select s.conversation_id
      from public.sessions s
     where s.assigned_user_id = (select auth.uid())
       and s.workspace_id in (select private.member_workspaces());
$$;
comment on function private.own_conversations() is 'The conversations the signed-in user holds (the owner''s side only while a member), or was assigned as a member.';

create function private.own_sessions()
    returns setof uuid
    language sql
    stable
    security definer
    set search_path = ''
as $$
    select s.id
      from public.sessions s
     where s.user_id = (select auth.uid())
       and (s.contact_id is not null or s.workspace_id in (select private.member_workspaces()))
    union
    select s.id
      from public.sessions s
     where s.assigned_user_id = (select auth.uid())
       and s.workspace_id in (select private.member_workspaces());
$$;
comment on function private.own_sessions() is 'The sessions the signed-in user holds (the owner''s side only while a member), or was assigned as a member.';

create function private.own_active_turns()
    returns setof uuid
    language sql
    stable
    security definer
    set search_path = ''
as $$
    select t.id
      from public.turns t
     where t.session_id in (select private.own_sessions())
       and t.status = 'active';
$$;
comment on function private.own_active_turns() is 'The turns under way in the signed-in user''s own and assigned sessions.';

create function private.token_conversation()
    returns uuid
    language sql
    stable
    set search_path = ''
as $$
    select (private.claims() ->> 'conversation_id')::uuid;
$$;
comment on function private.token_conversation() is 'The one conversation a contact token is for.';

create function private.verified_contact()
    returns uuid
    language sql
    stable
    set search_path = ''
as $$
    select case when private.claims() ->> 'proof' = 'verified' then (private.claims() ->> 'contact_id')::uuid end;
$$;
comment on function private.verified_contact() is 'The contact of a token that carries proof; null for one given on somebody''s word.';

grant execute on function
    private.member_workspaces(), private.admin_workspaces(), private.own_conversations(), private.own_sessions(),
    private.own_active_turns()
    to authenticated;
grant execute on function private.token_conversation(), private.verified_contact() to contact;
