-- Making and changing workspaces, and who works in them.

set lock_timeout = '5s';
set statement_timeout = '60s';

create function private.apply_to_workspace(workspace public.workspaces, changes jsonb)
    returns public.workspaces
    language sql
    volatile
    set search_path = ''
as $$
    -- Only what is listed here changes: which private networks may be called is for operators with access to the database.
    update public.workspaces w
       set (name, archive_after_days, archive_statuses, messages_per_minute_by_contact, messages_per_minute_by_user,
            messages_per_minute_by_space, messages_per_minute_by_address)
         = (select n.name, n.archive_after_days, n.archive_statuses, n.messages_per_minute_by_contact,
                   n.messages_per_minute_by_user, n.messages_per_minute_by_space, n.messages_per_minute_by_address
              from pg_catalog.jsonb_populate_record(w, changes) n)
     where w.id = workspace.id
    returning w.*;
$$;
comment on function private.apply_to_workspace(public.workspaces, jsonb) is 'Writes the given members of a workspace''s settings; the others stay.';

create function public.create_workspace(
    workspace   jsonb,
    owner_id    uuid default null,
    owner_email text default null
)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    wanted constant uuid := coalesce((workspace ->> 'id')::uuid, private.uuid7());
    made   public.workspaces;
    owner  uuid;
begin
    if not private.is_operator() then
        raise sqlstate 'PT403' using message = 'forbidden', detail = 'Only operators make workspaces.';
    end if;
    if owner_email is null then
        owner_id := coalesce(owner_id, private.calling_user());
    end if;
    owner := private.find_user(owner_id, owner_email);
    if owner is null then
        raise sqlstate 'PT404' using message = 'user_not_found', detail = 'There is no such user to own the workspace.';
    end if;
    perform pg_catalog.set_config('switchboard.workspace_id', wanted::text, true);
    perform pg_catalog.set_config('switchboard.managed_workspace_id', wanted::text, true);

    insert into public.workspaces (id, name)
    values (wanted, workspace ->> 'name')
    on conflict on constraint workspaces_pkey do nothing
    returning * into made;
    if not found then
        select w.* into made
          from public.workspaces w
          join public.workspace_members m on m.workspace_id = w.id and m.user_id = owner and m.role = 'owner'
         where w.id = wanted;
        if not found then
            raise sqlstate 'PT409' using message = 'id_taken', detail = 'Something else has this id.';
        end if;
        return private.describe_workspace(made);
    end if;
    made := private.apply_to_workspace(made, workspace);
    insert into public.workspace_members (workspace_id, user_id, role) values (made.id, owner, 'owner');
    perform private.record_change(made.id, 'workspace.created', made.id);
    perform private.record_change(made.id, 'member.added', owner, 'owner');
    return private.describe_workspace(made);
end;
$$;
comment on function public.create_workspace(jsonb, uuid, text) is
    'Makes a workspace with its first owner (the caller unless another is named); operators only. The same id again gives the same workspace.';
grant execute on function private.apply_to_workspace(public.workspaces, jsonb), public.create_workspace(jsonb, uuid, text)
    to switchboard, service_role;

create function public.list_workspaces(after uuid default null, page_size integer default 50)
    returns jsonb
    language sql
    stable
    set search_path = ''
as $$
    select private.page(pg_catalog.jsonb_agg(private.describe_workspace(w) order by w.id), page_size, 'id')
      from (select w.*
              from public.workspaces w
             where list_workspaces.after is null or w.id > list_workspaces.after
             order by w.id
             limit page_size + 1) w;
$$;
comment on function public.list_workspaces(uuid, integer) is 'A page of the workspaces that the caller may see: their own, or all for operators.';

create function public.read_workspace(workspace_id uuid)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    found_workspace public.workspaces;
begin
    select w.* into found_workspace from public.workspaces w where w.id = read_workspace.workspace_id;
    if not found then
        raise sqlstate 'PT404' using message = 'workspace_not_found', detail = 'There is no such workspace.';
    end if;
    return private.describe_workspace(found_workspace);
end;
$$;
comment on function public.read_workspace(uuid) is 'A workspace that the caller is a member of.';
grant execute on function public.list_workspaces(uuid, integer), public.read_workspace(uuid) to authenticated, service_role;

create function public.change_workspace(workspace_id uuid, changes jsonb)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_as_admin('workspace', workspace_id);
    before public.workspaces;
    made   public.workspaces;
begin
    select w.* into before from public.workspaces w where w.id = workspace for no key update;
    made := private.apply_to_workspace(before, changes);
    if made is distinct from before then
        perform private.record_change(workspace, 'workspace.changed', workspace);
    end if;
    return private.describe_workspace(made);
end;
$$;
comment on function public.change_workspace(uuid, jsonb) is 'Changes the given settings of a workspace; for its owners and admins.';
grant execute on function public.change_workspace(uuid, jsonb) to switchboard, service_role;

-- Members -------------------------------------------------------------------------------------------------------------

create function public.list_members(workspace_id uuid, after uuid default null, page_size integer default 50)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    perform public.read_workspace(workspace_id);
    return (select private.page(pg_catalog.jsonb_agg(pg_catalog.to_jsonb(m) order by m.user_id), page_size, 'user_id')
              from (select m.user_id, e.email, m.role, m.created_at
                      from public.workspace_members m
                      left join private.member_emails(list_members.workspace_id) e on e.user_id = m.user_id
                     where m.workspace_id = list_members.workspace_id
                       and (list_members.after is null or m.user_id > list_members.after)
                     order by m.user_id
                     limit page_size + 1) m);
end;
$$;
comment on function public.list_members(uuid, uuid, integer) is 'A page of a workspace''s members: {user_id, email, role, created_at}.';
grant execute on function public.list_members(uuid, uuid, integer) to authenticated, service_role;

create function private.require_another_owner(workspace_id uuid, user_id uuid)
    returns void
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    if not exists (select
                     from public.workspace_members m
                    where m.workspace_id = require_another_owner.workspace_id
                      and m.user_id <> require_another_owner.user_id
                      and m.role = 'owner') then
        raise sqlstate 'PT409' using message = 'last_owner', detail = 'A workspace keeps at least one owner.';
    end if;
end;
$$;
comment on function private.require_another_owner(uuid, uuid) is 'Refuses to take the last owner from a workspace, which is locked by then.';

create function private.put_member(workspace_id uuid, user_id uuid, role public.member_role, granted_by public.member_role)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    before public.member_role;
    made   public.workspace_members;
begin
    -- One at a time: two owners who demote each other at once must not both succeed.
    perform from public.workspaces w where w.id = put_member.workspace_id for no key update;
    select m.role into before
      from public.workspace_members m
     where m.workspace_id = put_member.workspace_id and m.user_id = put_member.user_id;
    if granted_by <> 'owner' and (role <> 'agent' or coalesce(before, 'agent') <> 'agent') then
        raise sqlstate 'PT403' using message = 'forbidden', detail = 'Only owners make or change owners and admins.';
    end if;
    if before = 'owner' and role <> 'owner' then
        perform private.require_another_owner(workspace_id, user_id);
    end if;
    insert into public.workspace_members as m (workspace_id, user_id, role)
    values (put_member.workspace_id, put_member.user_id, put_member.role)
    on conflict on constraint workspace_members_pkey do update set role = excluded.role
    returning m.* into made;
    if before is distinct from role then
        perform private.record_change(
            put_member.workspace_id, case when before is null then 'member.added' else 'member.changed' end, user_id, role::text);
    end if;
    return pg_catalog.jsonb_build_object('user_id', made.user_id, 'role', made.role, 'created_at', made.created_at);
end;
$$;
comment on function private.put_member(uuid, uuid, public.member_role, public.member_role) is
    'Gives a user a role in a workspace, if whoever grants it has the role for that.';

create function public.set_member(workspace_id uuid, user_id uuid, role public.member_role)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_as_admin('workspace', workspace_id);
begin
    if private.find_user(user_id, null) is null then
        raise sqlstate 'PT404' using message = 'user_not_found', detail = 'There is no such user.';
    end if;
    return private.put_member(workspace, user_id, role, private.caller_role(workspace));
end;
$$;
comment on function public.set_member(uuid, uuid, public.member_role) is
    'Makes a user a member, or gives a member another role. Admins manage agents, owners everybody; the last owner stays one.';

create function public.add_member(workspace_id uuid, email text, role public.member_role)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    workspace  constant uuid := private.enter_as_admin('workspace', workspace_id);
    granted_by constant public.member_role := private.caller_role(workspace);
    limited    constant boolean := private.calling_user() is not null;
    found_user uuid;
    before     public.member_role;
    refusal    text;
begin
    -- Before anybody is looked for: put_member would say so only of an email that is known, and its error would undo the count.
    if granted_by <> 'owner' and role <> 'agent' then
        raise sqlstate 'PT403' using message = 'forbidden', detail = 'Only owners make or change owners and admins.';
    end if;
    if limited then
        -- The answer tells whether an email is known on this instance. Every question is counted, also the one with a yes.
        begin
            perform private.take_limits(pg_catalog.jsonb_build_object('members_by_email', pg_catalog.jsonb_build_object(
                'place', 1, 'subject', private.calling_user(), 'quota', 10, 'object_id', private.calling_user())));
        exception when sqlstate 'SB001' then
            get stacked diagnostics refusal = pg_exception_detail;
            perform private.count_refusal(refusal::jsonb);
            return private.refuse(refusal::jsonb - '{subject,object_id}'::text[]);
        end;
    end if;
    found_user := private.find_user(null, email);
    if found_user is null then
        if not limited then
            raise sqlstate 'PT404' using message = 'user_not_found', detail = 'No user has confirmed this email.';
        end if;
        perform private.record_change(workspace, 'member.sought', workspace, 'user_not_found');
        return private.refuse(pg_catalog.jsonb_build_object(
            'status', 404, 'code', 'user_not_found', 'title', 'There is no such user.',
            'detail', 'No user has confirmed this email.'));
    end if;
    select m.role into before from public.workspace_members m where m.workspace_id = workspace and m.user_id = found_user;
    if before <> role then
        raise sqlstate 'PT409' using message = 'member_exists', detail = 'This user is a member with another role.';
    end if;
    return private.put_member(workspace, found_user, role, granted_by);
end;
$$;
comment on function public.add_member(uuid, text, public.member_role) is
    'Makes the user with this confirmed email a member; ten such questions a minute and caller, operators aside. A member with another role is a conflict.';

create function public.remove_member(workspace_id uuid, user_id uuid)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    caller_role constant public.member_role := private.enter_to_manage('workspace', workspace_id);
    before public.member_role;
begin
    if caller_role = 'agent' and user_id is distinct from private.calling_user() then
        raise sqlstate 'PT403' using message = 'forbidden', detail = 'Only owners and admins may change this.';
    end if;
    -- Whoever leaves manages themselves.
    perform pg_catalog.set_config('switchboard.managed_workspace_id', workspace_id::text, true);
    perform from public.workspaces w where w.id = remove_member.workspace_id for no key update;
    select m.role into before
      from public.workspace_members m
     where m.workspace_id = remove_member.workspace_id and m.user_id = remove_member.user_id;
    if not found then
        raise sqlstate 'PT404' using message = 'member_not_found', detail = 'There is no such member.';
    end if;
    if caller_role = 'admin' and before <> 'agent' and user_id is distinct from private.calling_user() then
        raise sqlstate 'PT403' using message = 'forbidden', detail = 'Only owners remove owners and admins.';
    end if;
    if before = 'owner' then
        perform private.require_another_owner(workspace_id, user_id);
    end if;
    delete from public.workspace_members m
     where m.workspace_id = remove_member.workspace_id and m.user_id = remove_member.user_id;
    perform private.record_change(workspace_id, 'member.removed', user_id, before::text);
    return pg_catalog.jsonb_build_object('removed', true);
end;
$$;
comment on function public.remove_member(uuid, uuid) is
    'Takes a member out of a workspace; everybody may leave. Admins remove agents, owners everybody but the last owner.';

grant execute on function
    private.require_another_owner(uuid, uuid), private.put_member(uuid, uuid, public.member_role, public.member_role),
    public.set_member(uuid, uuid, public.member_role), public.add_member(uuid, text, public.member_role),
    public.remove_member(uuid, uuid)
    to switchboard, service_role;
