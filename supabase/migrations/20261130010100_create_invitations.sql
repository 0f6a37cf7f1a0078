-- Generated from supabase/schemas/11_invitations.sql.
set lock_timeout = '5s';
set statement_timeout = '60s';
set check_function_bodies = off;

-- Invitations: a user becomes a member of a workspace by accepting one.

create table public.invitations (
    id             uuid               not null default private.uuid7(),
    workspace_id   uuid               not null,
    workspace_name text               not null,
    email          text               not null,
    email_key      text               not null,
    role           public.member_role not null,
    invited_by     uuid,
    created_at     timestamptz        not null default now(),
    expires_at     timestamptz        not null default now() + interval '7 days',
    accepted_at    timestamptz,
    constraint invitations_pkey              primary key (id),
    constraint invitations_email_key         unique (workspace_id, email_key),
    constraint invitations_workspace_id_fkey foreign key (workspace_id) references public.workspaces (id) on delete cascade,
    constraint invitations_invited_by_fkey   foreign key (workspace_id, invited_by)
        references public.workspace_members (workspace_id, user_id) on delete cascade,
    constraint invitations_lengths           check (length(email) <= 320 and length(email_key) <= 320)
);
comment on table public.invitations is 'Offers of a role in a workspace to the user who has confirmed an email.';
comment on column public.invitations.workspace_name is 'The name when it was sent: the invited user may not read the workspace.';
comment on column public.invitations.email is 'As typed.';
comment on column public.invitations.email_key is 'As compared (lib/fields/emails.py).';
comment on column public.invitations.invited_by is 'The member who sent it; it ends with their membership. Null: an operator.';
comment on column public.invitations.accepted_at is 'Null: open until expires_at.';
alter table public.invitations enable row level security;
create index invitations_email_idx on public.invitations (email_key);
create index invitations_invited_by_idx on public.invitations (invited_by, workspace_id) where invited_by is not null;

create function private.confirmed_email()
    returns text language sql stable cost 1 security definer set search_path = ''
as $$
    select lower(u.email)
      from auth.users u
     where u.id = (select auth.uid())
       and u.email_confirmed_at is not null;
$$;
comment on function private.confirmed_email is 'The email that the signed-in user has confirmed, in lower case; null without one.';

create function private.enter_invitation(invitation_id uuid)
    returns void language plpgsql security definer set search_path = ''
as $$
declare
    caller    constant jsonb := private.claims() -> 'caller';
    workspace uuid;
begin
    perform private.require_user();
    select i.workspace_id into workspace
      from public.invitations i
     where i.id = enter_invitation.invitation_id
       and i.email_key = caller ->> 'email_key'
       and (private.claims() #>> '{scope,management}')::boolean
       and private.email_is_confirmed(private.calling_user(), caller ->> 'email');
    if not found then
        raise sqlstate 'PT404' using message = 'invitation_not_found';
    end if;
    perform set_config('switchboard.workspace_id', workspace::text, true);
    perform set_config('switchboard.managed_workspace_id', workspace::text, true);
end;
$$;
comment on function private.enter_invitation is 'Enters the workspace that the caller is invited to, in order to add the caller; 404 unless the caller has confirmed the email of the invitation.';

create function public.invite_member(workspace_id uuid, email text, email_key text, role public.member_role)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace  constant uuid := private.enter_to_manage('workspace', workspace_id, 'admin');
    invitation public.invitations;
begin
    perform private.require_user();
    if exists (select
                 from public.workspace_members m
                where m.workspace_id = workspace
                  and (private.email_is_confirmed(m.user_id, invite_member.email)
                       or private.email_is_confirmed(m.user_id, invite_member.email_key))) then
        raise sqlstate 'PT409' using message = 'already_member';
    end if;
    insert into public.invitations as i (workspace_id, workspace_name, email, email_key, role, invited_by)
    select w.id, w.name, invite_member.email, invite_member.email_key, invite_member.role, private.calling_user()
      from public.workspaces w
     where w.id = workspace
    on conflict on constraint invitations_email_key do update
       set workspace_name = excluded.workspace_name, email = excluded.email, role = excluded.role,
           invited_by = excluded.invited_by, expires_at = excluded.expires_at, accepted_at = null
     -- An admin replaces no open invitation of an owner or admin.
     where private.caller_role(workspace) = 'owner' or i.role = 'agent' or i.accepted_at is not null
    returning i.* into invitation;
    if private.caller_role(workspace) <> 'owner' and (role <> 'agent' or invitation.id is null) then
        raise sqlstate 'PT403' using message = 'forbidden', detail = 'owners_only';
    end if;
    perform private.record_change(workspace, 'member.invited', invitation.id, role::text);
    return to_jsonb(invitation) - '{email_key,invited_by,accepted_at}'::text[];
end;
$$;
comment on function public.invite_member is 'Offers a role to the user who has confirmed an email, for seven days; a repeat renews the invitation; 409 for a member''s email. Admins invite agents, owners all members.';

create function public.withdraw_invitation(workspace_id uuid, invitation_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_to_manage('workspace', workspace_id, 'admin');
    offered   public.member_role;
begin
    delete from public.invitations i
     where i.id = invitation_id
       and i.workspace_id = workspace
       and i.accepted_at is null
    returning i.role into offered;
    if not found then
        raise sqlstate 'PT404' using message = 'invitation_not_found';
    elsif offered <> 'agent' and private.caller_role(workspace) <> 'owner' then
        raise sqlstate 'PT403' using message = 'forbidden', detail = 'owners_only';
    end if;
    perform private.record_change(workspace, 'invitation.withdrawn', invitation_id, offered::text);
    return jsonb_build_object('removed', true);
end;
$$;
comment on function public.withdraw_invitation is 'Withdraws an open invitation. Admins withdraw those of agents, owners all.';

create function public.accept_invitation(invitation_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    caller     constant uuid := private.calling_user();
    invitation public.invitations;
    membership jsonb;
begin
    perform private.enter_invitation(invitation_id);
    select i.* into invitation from public.invitations i where i.id = invitation_id for update;
    if invitation.accepted_at is null and invitation.expires_at > now() then
        -- A member keeps the present role.
        insert into public.workspace_members (workspace_id, user_id, role)
        values (invitation.workspace_id, caller, invitation.role)
        on conflict do nothing;
        if found then
            perform private.record_change(invitation.workspace_id, 'member.added', caller, invitation.role::text);
        end if;
        update public.invitations i set accepted_at = now() where i.id = invitation.id;
    end if;
    select jsonb_build_object('workspace_id', m.workspace_id, 'user_id', m.user_id, 'role', m.role, 'created_at', m.created_at)
      into membership
      from public.workspace_members m
     where m.workspace_id = invitation.workspace_id
       and m.user_id = caller;
    if not found then
        -- Expired, withdrawn just now, or accepted for a membership that has ended.
        raise sqlstate 'PT404' using message = 'invitation_not_found';
    end if;
    return membership;
end;
$$;
comment on function public.accept_invitation is 'Makes the caller a member, by an open invitation for their confirmed email; a repeat returns the membership: {workspace_id, user_id, role, created_at}.';

grant execute on function
    private.confirmed_email
    to authenticated;

grant execute on function
    private.enter_invitation, public.accept_invitation
    to switchboard;

grant execute on function
    public.invite_member, public.withdraw_invitation
    to service_role, switchboard;
