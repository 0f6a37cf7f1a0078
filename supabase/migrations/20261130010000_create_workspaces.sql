-- Generated from supabase/schemas/10_workspaces.sql.
set lock_timeout = '5s';
set statement_timeout = '60s';
set check_function_bodies = off;

-- Workspaces (the tenant), their members, their audit log, and the checks that management functions share.

create type public.member_role as enum ('owner', 'admin', 'agent');
comment on type public.member_role is 'owner and admin see and change the whole workspace; agent sees own and assigned sessions.';

create type public.session_status as enum ('active', 'paused', 'completed', 'failed', 'timeout', 'cancelled', 'archived');
comment on type public.session_status is 'active <-> paused; active | paused -> completed | failed | timeout | cancelled -> archived (-> its former state on restore)';

create type public.archive_retention as enum ('keep', 'drop');
comment on type public.archive_retention is 'keep: the messages of an archived session stay in the database, too; drop: they are in the archive only.';

create table public.workspaces (
    id                             uuid                    not null default private.uuid7(),
    name                           text                    not null,
    allowed_networks               cidr[]                  not null default '{}',
    archive_after_days             integer                 not null default 90,
    archive_statuses               public.session_status[] not null default '{completed,failed,timeout,cancelled}',
    created_at                     timestamptz             not null default now(),
    messages_per_minute_by_contact integer                 not null default 60,
    messages_per_minute_by_user    integer                 not null default 120,
    messages_per_minute_by_address integer                 not null default 600,
    messages_per_minute_by_space   integer                 not null default 6000,
    session_timeout_hours          integer,
    archive_retention              public.archive_retention not null default 'keep',
    constraint workspaces_pkey                  primary key (id),
    constraint workspaces_name_length           check (length(name) between 1 and 200),
    constraint workspaces_archive_after_days    check (archive_after_days between 1 and 3650),
    constraint workspaces_archive_statuses      check (archive_statuses <@ '{completed,failed,timeout,cancelled}'),
    -- A workspace is one row; checking them all takes no time.
    constraint workspaces_messages_per_minute   check (
        messages_per_minute_by_contact > 0 and messages_per_minute_by_user > 0
        and messages_per_minute_by_address > 0 and messages_per_minute_by_space > 0),
    -- A workspace is one row; checking them all takes no time.
    constraint workspaces_session_timeout_hours check (session_timeout_hours between 0 and 8760)
);
comment on table public.workspaces is 'The tenant; every row belongs to one.';
comment on column public.workspaces.allowed_networks is 'Private networks that this workspace''s personas may call; everything private is refused otherwise. Set by operators only.';
comment on column public.workspaces.archive_after_days is 'A finished session is archived this many days after its last activity.';
comment on column public.workspaces.archive_statuses is 'Which terminal states are archived.';
comment on column public.workspaces.messages_per_minute_by_contact is 'Messages that one contact may send in a minute.';
comment on column public.workspaces.messages_per_minute_by_user is 'Messages that one signed-in user may send in a minute.';
comment on column public.workspaces.messages_per_minute_by_address is 'Messages that may come from one address (IPv6: one /64) in a minute.';
comment on column public.workspaces.messages_per_minute_by_space is 'Messages that one space takes in a minute.';
comment on column public.workspaces.session_timeout_hours is 'A session times out this many hours after the last message came in; 0: never; null: as the instance says.';
comment on column public.workspaces.archive_retention is 'What happens to the messages of a session once its archive is verified.';
alter table public.workspaces enable row level security;

create table public.workspace_members (
    workspace_id uuid               not null,
    user_id      uuid               not null,
    role         public.member_role not null,
    created_at   timestamptz        not null default now(),
    constraint workspace_members_pkey              primary key (workspace_id, user_id),
    constraint workspace_members_workspace_id_fkey foreign key (workspace_id) references public.workspaces (id) on delete cascade,
    constraint workspace_members_user_id_fkey      foreign key (user_id) references auth.users (id) on delete cascade
);
comment on table public.workspace_members is 'Users with a role in a workspace.';
alter table public.workspace_members enable row level security;
create index workspace_members_user_id_idx on public.workspace_members (user_id, workspace_id) include (role);

create function private.calling_kind()
    returns text language plpgsql stable parallel safe set search_path = ''
as $$
declare
    claims constant jsonb := private.claims();
begin
    return case when claims ->> 'role' = 'service_role' then 'operator' else coalesce(claims #>> '{caller,kind}', 'system') end;
end;
$$;
comment on function private.calling_kind is 'The kind of caller on whose behalf a function calls.';

create table public.audit_events (
    id           uuid        not null default private.uuid7(),
    workspace_id uuid        not null,
    verb         text        not null,
    object_id    uuid        not null,
    actor_id     uuid,
    code         text,
    created_at   timestamptz not null default now(),
    actor_kind   text        not null default private.calling_kind(),
    constraint audit_events_pkey              primary key (id),
    constraint audit_events_workspace_id_fkey foreign key (workspace_id) references public.workspaces (id) on delete cascade,
    constraint audit_events_lengths           check (length(verb) between 1 and 64 and length(code) <= 64)
);
comment on table public.audit_events is 'What happened, in ids and verbs only: nothing here has to be erased with a contact.';
comment on column public.audit_events.verb is 'noun.participle, like contact.registered or turn.failed.';
comment on column public.audit_events.object_id is 'What it happened to.';
comment on column public.audit_events.actor_id is 'The contact, user or API key that did it; null for the system.';
comment on column public.audit_events.actor_kind is 'The kind of caller: contact, user, key, anonymous, system; operator for commands with the service key.';
alter table public.audit_events enable row level security;
create index audit_events_workspace_id_idx on public.audit_events (workspace_id, created_at);
create index audit_events_object_created_at_idx on public.audit_events (object_id, created_at, id);
create index audit_events_merges_idx on public.audit_events (object_id) where verb in ('contact.merged', 'contact.unmerged');

create function private.shown_key()
    returns table (workspace_id uuid, id uuid, role public.member_role)
    language plpgsql stable rows 1 security definer set search_path = ''
as $$
declare
    claims constant jsonb := private.claims();
    -- The functions pass on the claims of their caller.
    bearer constant jsonb := coalesce(claims -> 'caller', claims);
begin
    if bearer ? 'key_hash' then
        return query
            select k.workspace_id, k.id, case when k.role = 'agent' then 'agent' else 'admin' end::public.member_role
              from public.api_keys k
             where k.id = coalesce(bearer ->> 'user_id', bearer ->> 'sub')::uuid
               and k.hash = bearer ->> 'key_hash'
               and k.revoked_at is null
               and (k.expires_at is null or k.expires_at > now())
               -- An ingest key has rights only in the commands that admit_key admits it to.
               and (k.role <> 'ingest' or current_setting('switchboard.admitted_key', true) = k.id::text);
    end if;
end;
$$;
comment on function private.shown_key is 'The valid API key that the caller shows, as the member that it stands for; none for other callers.';

create function private.memberships(user_id uuid)
    returns table (workspace_id uuid, role public.member_role)
    language plpgsql stable rows 1 security definer set search_path = ''
as $$
begin
    return query
        select m.workspace_id, m.role
          from public.workspace_members m
         where m.user_id = memberships.user_id
        union all
        select k.workspace_id, k.role
          from private.shown_key() k
         where k.id = memberships.user_id;
end;
$$;
comment on function private.memberships is 'The workspaces in which a user has a role, and for the id of the API key that calls, the key''s own: whatever asks for rights asks here.';

-- Functions that policies call for their rows state a low cost and number of rows, see docs/database.md (Views over the API).
create function private.member_workspaces()
    returns setof uuid language sql stable cost 1 rows 1 security definer set search_path = ''
as $$
    select m.workspace_id from private.memberships((select auth.uid())) m;
$$;
comment on function private.member_workspaces is 'The workspaces the signed-in user or API key is a member of.';

create function private.admin_workspaces()
    returns setof uuid language sql stable cost 1 rows 1 security definer set search_path = ''
as $$
    select m.workspace_id
      from private.memberships((select auth.uid())) m
     where m.role in ('owner', 'admin');
$$;
comment on function private.admin_workspaces is 'The workspaces the signed-in user or API key owns or administers.';

create function private.email_is_confirmed(user_id uuid, email text)
    returns boolean language plpgsql stable security definer set search_path = ''
as $$
begin
    return exists (select
                     from auth.users u
                    where u.id = email_is_confirmed.user_id
                      and lower(u.email) = lower(email_is_confirmed.email)
                      and u.email_confirmed_at is not null);
end;
$$;
comment on function private.email_is_confirmed is 'Whether a Supabase user has confirmed the email that their token names.';

create function private.is_member(user_id uuid)
    returns boolean language plpgsql stable set search_path = ''
as $$
begin
    return exists (select
                     from private.memberships(is_member.user_id) m
                    where m.workspace_id = private.entered_workspace());
end;
$$;
comment on function private.is_member is 'Whether a user, or the API key that calls, is a member of the entered workspace.';

create function private.record_audit(verb text, object_id uuid, actor_id uuid, code text)
    returns void language plpgsql set search_path = ''
as $$
begin
    insert into public.audit_events (workspace_id, verb, object_id, actor_id, code)
    values (private.entered_workspace(), record_audit.verb, record_audit.object_id, record_audit.actor_id, record_audit.code);
end;
$$;
comment on function private.record_audit is 'Adds to the audit of the entered workspace.';

create function private.workspace_of(kind text, object_id uuid)
    returns uuid language sql stable security definer set search_path = ''
as $$
    select case kind
               when 'workspace' then coalesce(object_id, (select (array_agg(m.workspace_id))[1]
                                                            from private.memberships(private.calling_user()) m
                                                          having count(*) = 1))
               when 'space'     then (select s.workspace_id from public.spaces s where s.id = object_id)
               when 'persona'   then (select p.workspace_id from public.personas p where p.id = object_id)
               when 'channel'   then (select c.workspace_id from public.channels c where c.id = object_id)
               when 'template'  then (select t.workspace_id from public.session_templates t where t.id = object_id)
               when 'answer_template' then (select t.workspace_id from public.answer_templates t where t.id = object_id)
               when 'contact'   then (select c.workspace_id from public.contacts c where c.id = object_id and private.erasure_of(c.id) is null)
               when 'erasure'   then (select e.workspace_id from public.erasures e where e.id = object_id)
               when 'conflict'  then (select k.workspace_id from public.contact_conflicts k where k.id = object_id)
               when 'device_session' then (select d.workspace_id from public.device_sessions d where d.id = object_id)
               when 'device_link'    then (select l.workspace_id from public.device_links l where l.id = object_id)
               when 'job'       then (select j.workspace_id from public.jobs j where j.id = object_id)
               when 'event_subscription' then (select s.workspace_id from public.event_subscriptions s where s.id = object_id)
               when 'event_delivery'     then (select d.workspace_id from public.event_deliveries d where d.id = object_id)
           end;
$$;
comment on function private.workspace_of is 'The workspace of an object; of the kind workspace and without an id, the only one of the caller; null where there is none.';

create function private.caller_role(workspace_id uuid)
    returns public.member_role language sql stable security definer set search_path = ''
as $$
    -- A token with another scope, such as a chat, manages nothing.
    select case
               when private.claims() ->> 'role' = 'service_role' or private.is_owner() then 'owner'::public.member_role
               when private.claims() ->> 'role' = 'switchboard'
                    and (private.claims() #>> '{scope,management}')::boolean
               then (select m.role from private.memberships(private.calling_user()) m where m.workspace_id = w.id)
           end
      from public.workspaces w
     where w.id = caller_role.workspace_id;
$$;
comment on function private.caller_role is 'The role of a caller with the management scope in a workspace; operators count as owners; null without a role or without such a workspace.';

create function private.enter_to_manage(kind text, object_id uuid, required public.member_role)
    returns uuid language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid               := private.workspace_of(kind, object_id);
    role      constant public.member_role := private.caller_role(workspace);
begin
    if kind = 'workspace' and workspace is null then
        raise sqlstate 'PT422' using message = 'workspace_required', detail = 'workspace_not_named';
    elsif role is null then
        raise sqlstate 'PT404' using message = kind || '_not_found';
    elsif role > required then
        -- Roles are ordered from owner to agent.
        raise sqlstate 'PT403' using message = 'forbidden',
            detail = case required when 'owner' then 'owners_only' else 'owners_and_admins_only' end;
    end if;
    perform set_config('switchboard.workspace_id', workspace::text, true);
    -- The policies for changes to a workspace's settings compare with this setting, which no other entry sets.
    if role in ('owner', 'admin') then
        perform set_config('switchboard.managed_workspace_id', workspace::text, true);
    end if;
    return workspace;
end;
$$;
comment on function private.enter_to_manage is 'Enters the workspace of an object in order to manage it, and returns the workspace. Callers without a role there do not find the object; callers with less than the required role are refused.';

create function private.is_operator()
    returns boolean language sql stable set search_path = ''
as $$
    select coalesce(private.claims() ->> 'role' = 'service_role'
                    or (private.claims() ->> 'role' = 'switchboard'
                        and (private.claims() #>> '{scope,management}')::boolean
                        and private.claims() #>> '{caller,switchboard_role}' = 'operator'), false);
$$;
comment on function private.is_operator is 'Whether the caller operates this instance: the service key, or a user whose app_metadata says so.';

create function private.find_user_by_email(user_id uuid, email text)
    returns uuid language plpgsql stable security definer set search_path = ''
as $$
begin
    -- The result reveals whether an email is known here.
    if not private.is_operator() then
        raise sqlstate 'PT403' using message = 'forbidden', detail = 'operators_only';
    end if;
    -- An unconfirmed email proves nothing. Two users share an email only with single sign-on: they are added by their ids.
    return (select u.id
              from auth.users u
             where u.deleted_at is null
               and not u.is_anonymous
               and (u.id = find_user_by_email.user_id
                    or (find_user_by_email.user_id is null and u.email = find_user_by_email.email and not u.is_sso_user
                        and u.email_confirmed_at is not null)));
end;
$$;
comment on function private.find_user_by_email is 'The Supabase user with this id, or else this confirmed email (in lower case); null if there is none.';

create function private.member_email(workspace_id uuid, user_id uuid)
    returns text language sql stable security definer set search_path = ''
as $$
    select u.email::text
      from public.workspace_members m
      join auth.users u on u.id = m.user_id
     where m.workspace_id = member_email.workspace_id
       and m.user_id = member_email.user_id
       and (private.claims() ->> 'role' = 'service_role' or m.workspace_id in (select private.member_workspaces()));
$$;
comment on function private.member_email is 'The email of a workspace''s member, for its members.';

create view public.member_details with (security_invoker = true) as
select m.workspace_id, m.user_id, private.member_email(m.workspace_id, m.user_id) as email, m.role, m.created_at
  from public.workspace_members m;
comment on view public.member_details is 'The members of a workspace with their emails.';

create function private.reads_connections(workspace_id uuid)
    returns boolean language sql stable set search_path = ''
as $$
    select case private.claims() ->> 'role'
               when 'service_role' then true
               when 'switchboard'  then workspace_id is not distinct from private.entered_workspace()
               else workspace_id in (select private.admin_workspaces())
           end;
$$;
comment on function private.reads_connections is 'Whether the caller may see what a workspace connects to: its owners and admins, and the functions that entered it.';

create function private.allowed_networks(workspace_id uuid)
    returns cidr[] language sql stable security definer set search_path = ''
as $$
    select w.allowed_networks
      from public.workspaces w
     where w.id = allowed_networks.workspace_id
       and private.reads_connections(w.id);
$$;
comment on function private.allowed_networks is 'The private networks that a workspace may call, for its owners and admins; null for other callers.';

create view public.workspace_settings with (security_invoker = true) as
select w.id, w.name, private.allowed_networks(w.id) as allowed_networks, w.archive_after_days, w.archive_statuses,
       w.archive_retention, w.session_timeout_hours, w.messages_per_minute_by_contact, w.messages_per_minute_by_user, w.messages_per_minute_by_space,
       w.messages_per_minute_by_address, w.created_at
  from public.workspaces w;
comment on view public.workspace_settings is 'Workspaces as their members see them: allowed_networks is null for agents.';

create function private.record_change(workspace_id uuid, verb text, object_id uuid, code text default null)
    returns void language sql set search_path = ''
as $$
    insert into public.audit_events (workspace_id, verb, object_id, actor_id, code)
    values (record_change.workspace_id, record_change.verb, record_change.object_id, private.calling_user(), record_change.code);
$$;
comment on function private.record_change is 'Adds a change to the audit; without an actor it is an operator''s command.';

create function private.calling_actor()
    returns uuid language sql stable set search_path = ''
as $$
    select coalesce(c.caller ->> 'contact_id', c.caller ->> 'user_id')::uuid
      from (select private.claims() -> 'caller' as caller) c;
$$;
comment on function private.calling_actor is 'The contact, user or API key on whose behalf a function of ours calls; null for the system.';

create function private.require_user()
    returns void language plpgsql stable set search_path = ''
as $$
begin
    if private.calling_kind() = 'key' then
        raise sqlstate 'PT403' using message = 'user_required';
    end if;
end;
$$;
comment on function private.require_user is 'Refuses API keys, for what only a person can do.';

create function public.create_workspace(workspace jsonb, owner_id uuid default null, owner_email text default null)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    wanted constant uuid := coalesce((workspace ->> 'id')::uuid, private.uuid7());
    owner  uuid;
begin
    if not private.is_operator() then
        raise sqlstate 'PT403' using message = 'forbidden', detail = 'operators_only';
    end if;
    if owner_email is null then
        owner_id := coalesce(owner_id, private.calling_user());
    end if;
    owner := private.find_user_by_email(owner_id, owner_email);
    if owner is null then
        raise sqlstate 'PT404' using message = 'user_not_found';
    end if;
    perform set_config('switchboard.workspace_id', wanted::text, true);
    perform set_config('switchboard.managed_workspace_id', wanted::text, true);

    insert into public.workspaces (id, name) values (wanted, workspace ->> 'name') on conflict (id) do nothing;
    if found then
        perform private.apply_settings('workspace', wanted, workspace);
        insert into public.workspace_members (workspace_id, user_id, role) values (wanted, owner, 'owner');
        perform private.record_change(wanted, 'workspace.created', wanted);
        perform private.record_change(wanted, 'member.added', owner, 'owner');
    elsif not exists (select
                        from public.workspace_members m
                       where m.workspace_id = wanted
                         and m.user_id = owner
                         and m.role = 'owner') then
        raise sqlstate 'PT409' using message = 'id_taken';
    end if;
    return private.settings_of('workspace', wanted);
end;
$$;
comment on function public.create_workspace is 'Creates a workspace with its first owner (the caller unless another is named); for operators. A repeated id returns the existing workspace.';

create function public.delete_workspace(workspace_id uuid, name text)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_to_manage('workspace', workspace_id, 'owner');
    present   text;
begin
    select w.name into present from public.workspaces w where w.id = workspace for update;
    if not found then
        raise sqlstate 'PT404' using message = 'workspace_not_found';
    elsif present is distinct from delete_workspace.name then
        raise sqlstate 'PT409' using message = 'wrong_name';
    end if;
    delete from public.workspaces w where w.id = workspace;
    return jsonb_build_object('removed', true);
end;
$$;
comment on function public.delete_workspace is 'Deletes a workspace, whose name confirms it, with all its contacts, conversations, secrets and audit events; for owners. It cannot be undone.';

create function public.set_allowed_networks(workspace_id uuid, networks cidr[])
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    allowed cidr[];
begin
    if not private.is_operator() then
        -- Members are refused; others do not find the workspace.
        perform private.enter_to_manage('workspace', workspace_id, 'agent');
        raise sqlstate 'PT403' using message = 'forbidden', detail = 'operators_only';
    end if;
    perform set_config('switchboard.workspace_id', workspace_id::text, true);
    perform set_config('switchboard.managed_workspace_id', workspace_id::text, true);
    update public.workspaces w
       set allowed_networks = array(select distinct n from unnest(networks) as n order by n)
     where w.id = set_allowed_networks.workspace_id
    returning w.allowed_networks into allowed;
    if not found then
        raise sqlstate 'PT404' using message = 'workspace_not_found';
    end if;
    perform private.record_change(workspace_id, 'workspace.networks_set', workspace_id);
    return jsonb_build_object('allowed_networks', allowed);
end;
$$;
comment on function public.set_allowed_networks is 'Sets the private networks that a workspace''s personas may call: {allowed_networks}. For operators, because it opens the network of the functions.';

create function private.require_another_owner(workspace_id uuid, user_id uuid)
    returns void language plpgsql stable set search_path = ''
as $$
begin
    if not exists (select
                     from public.workspace_members m
                    where m.workspace_id = require_another_owner.workspace_id
                      and m.user_id <> require_another_owner.user_id
                      and m.role = 'owner') then
        raise sqlstate 'PT409' using message = 'last_owner';
    end if;
end;
$$;
comment on function private.require_another_owner is 'Refuses to take the last owner from a workspace, which is locked.';

create function private.put_member(workspace_id uuid, user_id uuid, role public.member_role)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    before public.member_role;
    made   public.workspace_members;
begin
    -- The lock keeps two owners from demoting each other at the same time.
    perform from public.workspaces w where w.id = put_member.workspace_id for no key update;
    select m.role into before
      from public.workspace_members m
     where m.workspace_id = put_member.workspace_id and m.user_id = put_member.user_id;
    if private.caller_role(workspace_id) <> 'owner' and (role <> 'agent' or coalesce(before, 'agent') <> 'agent') then
        raise sqlstate 'PT403' using message = 'forbidden', detail = 'owners_only';
    end if;
    if before = 'owner' and role <> 'owner' then
        perform private.require_another_owner(workspace_id, user_id);
    end if;
    insert into public.workspace_members as m (workspace_id, user_id, role)
    values (put_member.workspace_id, put_member.user_id, put_member.role)
    on conflict on constraint workspace_members_pkey do update set role = excluded.role
    returning m.* into made;
    if before is distinct from role then
        -- Sent with the rights of the former role.
        delete from public.invitations i
         where i.workspace_id = put_member.workspace_id and i.invited_by = put_member.user_id and i.accepted_at is null;
        perform private.record_change(
            put_member.workspace_id, case when before is null then 'member.added' else 'member.changed' end, user_id, role::text);
    end if;
    return jsonb_build_object('user_id', made.user_id, 'role', made.role, 'created_at', made.created_at);
end;
$$;
comment on function private.put_member is 'Gives a user a role in a workspace: owners give every role, admins make agents.';

create function public.set_member(workspace_id uuid, user_id uuid, role public.member_role)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_to_manage('workspace', workspace_id, 'admin');
begin
    -- Locked first, so that a member who leaves at this moment is not added again.
    perform from public.workspaces w where w.id = workspace for no key update;
    if not exists (select
                     from public.workspace_members m
                    where m.workspace_id = workspace
                      and m.user_id = set_member.user_id) then
        raise sqlstate 'PT404' using message = 'member_not_found';
    end if;
    return private.put_member(workspace, user_id, role);
end;
$$;
comment on function public.set_member is 'Changes a member''s role. Admins manage agents, owners all members; the last owner stays.';

create function public.add_member(
    workspace_id uuid,
    role         public.member_role,
    email        text default null,
    user_id      uuid default null
)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace  constant uuid := private.enter_to_manage('workspace', workspace_id, 'owner');
    found_user constant uuid := private.find_user_by_email(user_id, email);
begin
    if found_user is null and user_id is null then
        raise sqlstate 'PT404' using message = 'user_not_found', detail = 'email_not_confirmed';
    elsif found_user is null then
        raise sqlstate 'PT404' using message = 'user_not_found';
    end if;
    if user_id is null and exists (select
                                     from public.workspace_members m
                                    where m.workspace_id = workspace
                                      and m.user_id = found_user
                                      and m.role <> add_member.role) then
        raise sqlstate 'PT409' using message = 'member_exists';
    end if;
    return private.put_member(workspace, found_user, role);
end;
$$;
comment on function public.add_member is 'Makes a user a member without an invitation, for operators with the service key: by id, which also changes a role, or by confirmed email, where a member with another role is a conflict.';

create function public.remove_member(workspace_id uuid, user_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid               := private.enter_to_manage('workspace', workspace_id, 'agent');
    role      constant public.member_role := private.caller_role(workspace);
    leaves    constant boolean            := user_id is not distinct from private.calling_user();
    before    public.member_role;
begin
    if role = 'agent' and not leaves then
        raise sqlstate 'PT403' using message = 'forbidden', detail = 'owners_and_admins_only';
    end if;
    -- An agent who leaves may delete their own membership.
    perform set_config('switchboard.managed_workspace_id', workspace::text, true);
    perform from public.workspaces w where w.id = workspace for no key update;
    select m.role into before
      from public.workspace_members m
     where m.workspace_id = workspace and m.user_id = remove_member.user_id;
    if not found then
        raise sqlstate 'PT404' using message = 'member_not_found';
    end if;
    if role = 'admin' and before <> 'agent' and not leaves then
        raise sqlstate 'PT403' using message = 'forbidden', detail = 'owners_only';
    end if;
    if before = 'owner' then
        perform private.require_another_owner(workspace, user_id);
    end if;
    -- Locked in the order of take_over_session: the sessions, then the member.
    perform
       from public.sessions s
      where s.workspace_id = workspace
        and remove_member.user_id in (s.assigned_user_id, s.taken_over_by)
      order by s.id
        for no key update;
    delete from public.workspace_members m where m.workspace_id = workspace and m.user_id = remove_member.user_id;
    perform private.record_change(workspace, 'member.removed', user_id, before::text);
    return jsonb_build_object('removed', true);
end;
$$;
comment on function public.remove_member is 'Removes a member; every member may leave. Admins remove agents, owners all members but the last owner.';

grant execute on function
    private.memberships
    to switchboard;

grant execute on function
    private.calling_kind, private.require_user
    to service_role, switchboard;

grant execute on function
    private.admin_workspaces
    to authenticated;

grant execute on function
    private.member_workspaces
    to authenticated, service_role;

grant execute on function
    private.is_member, private.record_audit
    to switchboard;

grant execute on function
    private.member_email
    to authenticated, service_role;

grant execute on function
    private.allowed_networks
    to authenticated, service_role, switchboard;

grant execute on function
    private.workspace_of, private.caller_role, private.enter_to_manage, private.is_operator, private.find_user_by_email,
    private.email_is_confirmed, private.record_change, private.calling_actor, public.create_workspace, public.set_allowed_networks,
    public.delete_workspace, private.require_another_owner, private.put_member, public.set_member, public.remove_member
    to service_role, switchboard;

grant execute on function
    public.add_member
    to service_role;
