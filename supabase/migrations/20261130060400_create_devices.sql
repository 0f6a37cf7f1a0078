-- Generated from supabase/schemas/64_devices.sql.
set lock_timeout = '5s';
set statement_timeout = '60s';
set check_function_bodies = off;

-- Devices: wearables that report what they hear, the users whom they belong to, and their sessions.

create type public.device_link_status as enum ('unverified', 'verified', 'revoked');
comment on type public.device_link_status is 'unverified -> verified | revoked; verified -> revoked; revoked -> verified (by new evidence)';

create table public.device_links (
    id           uuid                      not null default private.uuid7(),
    workspace_id uuid                      not null,
    provider     text                      not null default 'omi',
    uid          text                      not null,
    user_id      uuid                      not null,
    status       public.device_link_status not null default 'unverified',
    verified_with  text,
    verified_at  timestamptz,
    revoked_at   timestamptz,
    created_at   timestamptz               not null default now(),
    constraint device_links_pkey              primary key (id),
    constraint device_links_user_key          unique (workspace_id, provider, uid, user_id),
    constraint device_links_workspace_id_fkey foreign key (workspace_id) references public.workspaces (id) on delete cascade,
    constraint device_links_user_id_fkey      foreign key (user_id) references auth.users (id) on delete cascade,
    constraint device_links_lengths           check (length(provider) between 1 and 64 and length(uid) between 1 and 240),
    constraint device_links_verified          check (num_nonnulls(verified_with, verified_at) in (0, 2) and (status <> 'verified' or verified_at is not null)),
    constraint device_links_verified_with       check (verified_with in ('claim_code', 'member')),
    constraint device_links_revoked           check ((status = 'revoked') = (revoked_at is not null))
);
comment on table public.device_links is 'A user to whom a device belongs, or who says so. A verified link attaches the device''s new sessions to the user.';
comment on column public.device_links.uid is 'The device''s id, as it sends it.';
comment on column public.device_links.verified_with is 'The evidence: claim_code (issued with the device), member (an owner or admin).';
alter table public.device_links enable row level security;
create unique index device_links_one_verified_idx on public.device_links (workspace_id, provider, uid) where status = 'verified';
create index device_links_user_id_idx on public.device_links (user_id);

create table public.device_sessions (
    id                       uuid        not null default private.uuid7(),
    workspace_id             uuid        not null,
    provider                 text        not null default 'omi',
    external_id              text        not null,
    external_conversation_id text,
    uid                      text,
    user_id                  uuid,
    linked_with                text,
    linked_at                timestamptz,
    claim_hash               text,
    conversation_id          uuid,
    created_at               timestamptz not null default now(),
    last_segment_at          timestamptz,
    closed_at                timestamptz,
    constraint device_sessions_pkey                 primary key (id),
    constraint device_sessions_workspace_id_fkey    foreign key (workspace_id) references public.workspaces (id) on delete cascade,
    constraint device_sessions_conversation_id_fkey foreign key (workspace_id, conversation_id) references public.conversations (workspace_id, id) on delete cascade,
    constraint device_sessions_user_id_fkey         foreign key (user_id) references auth.users (id) on delete set null,
    constraint device_sessions_claim_key            unique (claim_hash),
    constraint device_sessions_lengths              check (length(provider) between 1 and 64 and length(external_id) between 1 and 240
        and length(external_conversation_id) between 1 and 240 and length(uid) between 1 and 240),
    constraint device_sessions_linked               check (num_nonnulls(linked_with, linked_at) in (0, 2) and (user_id is null or linked_at is not null)),
    constraint device_sessions_linked_with            check (linked_with in ('uid', 'session_id', 'claim_code', 'member'))
);
comment on table public.device_sessions is 'One episode of what a device hears, and the conversation that has its transcript.';
comment on column public.device_sessions.external_id is 'The session id that the device sends; a device that has none sends its uid.';
comment on column public.device_sessions.external_conversation_id is 'The provider''s id of the conversation that it made of the session.';
comment on column public.device_sessions.uid is 'The device''s id, once it was sent or if it was issued.';
comment on column public.device_sessions.user_id is 'The user to whom the session is attached, also its conversation''s and its sessions''; null: no user yet, or one who was deleted.';
comment on column public.device_sessions.linked_with is 'What attached it: uid (a verified device link), session_id, claim_code, member (an owner or admin).';
comment on column public.device_sessions.linked_at is 'When it was attached; null: never, so that its bare id may attach it.';
comment on column public.device_sessions.claim_hash is 'SHA-256 of the claim code, in hex. The code is random, so that a slow hash adds nothing.';
comment on column public.device_sessions.conversation_id is 'Null: issued, and nothing was heard yet.';
comment on column public.device_sessions.last_segment_at is 'When a segment last arrived. Where the session id is the uid, a new session begins after 120 s of silence.';
alter table public.device_sessions enable row level security;
create unique index device_sessions_open_idx on public.device_sessions (workspace_id, provider, external_id, uid) nulls not distinct where closed_at is null;
create index device_sessions_workspace_id_idx on public.device_sessions (workspace_id, id);
create index device_sessions_external_id_idx on public.device_sessions (external_id, created_at);
create unique index device_sessions_external_conversation_idx
    on public.device_sessions (workspace_id, provider, uid, external_conversation_id) where external_conversation_id is not null;
create unique index device_sessions_conversation_id_idx on public.device_sessions (conversation_id) where conversation_id is not null;
create index device_sessions_user_id_idx on public.device_sessions (user_id) where user_id is not null;
create index device_sessions_uid_idx on public.device_sessions (workspace_id, uid) where uid is not null;

create function private.describe_device_session(device public.device_sessions)
    returns jsonb language plpgsql immutable set search_path = ''
as $$
begin
    return to_jsonb(device) - '{claim_hash,external_conversation_id}'::text[];
end;
$$;
comment on function private.describe_device_session is 'A device session as its user and the workspace''s admins see it.';

create function private.enter_device_session(external_id text, claim_hash text)
    returns uuid language plpgsql security definer set search_path = ''
as $$
declare
    found_ones public.device_sessions[];
begin
    select array_agg(d order by d.closed_at is null desc, d.created_at desc) into found_ones
      from public.device_sessions d
     where d.claim_hash = enter_device_session.claim_hash
        or (enter_device_session.claim_hash is null and d.external_id = enter_device_session.external_id);
    -- An id that two workspaces know is not unguessable.
    if (select count(distinct d.workspace_id) from unnest(found_ones) d) <> 1 then
        return null;
    end if;
    perform set_config('switchboard.workspace_id', found_ones[1].workspace_id::text, true);
    return found_ones[1].id;
end;
$$;
comment on function private.enter_device_session is 'For a user who links one: enters the workspace of the device session with this claim code or session id (the open one, or else the newest) and returns its id; null without one.';

create function private.enter_as_device_user(workspace_id uuid)
    returns uuid language plpgsql security definer set search_path = ''
as $$
begin
    if not exists (select from private.memberships(private.calling_user()) m where m.workspace_id = enter_as_device_user.workspace_id)
       and not exists (select
                         from public.conversations c
                        where c.user_id = private.calling_user()
                          and c.workspace_id = enter_as_device_user.workspace_id) then
        raise sqlstate 'PT404' using message = 'workspace_not_found';
    end if;
    return set_config('switchboard.workspace_id', workspace_id::text, true)::uuid;
end;
$$;
comment on function private.enter_as_device_user is 'Enters a workspace in which the calling user is a member or has a conversation, and returns it.';

create function private.enter_own_device_link(link_id uuid)
    returns boolean language plpgsql security definer set search_path = ''
as $$
declare
    workspace uuid;
begin
    select l.workspace_id into workspace
      from public.device_links l
     where l.id = enter_own_device_link.link_id
       and l.user_id = private.calling_user();
    perform set_config('switchboard.workspace_id', workspace::text, true) where workspace is not null;
    return workspace is not null;
end;
$$;
comment on function private.enter_own_device_link is 'Enters the workspace of a device link of the calling user; whether it is one.';

create function private.refuse_frequent_links()
    returns jsonb language plpgsql security definer set search_path = ''
as $$
declare
    most    constant integer := 10;
    counted record;
begin
    perform private.require_user();
    if private.calling_user() is null then
        raise sqlstate 'PT403' using message = 'forbidden';
    end if;
    counted := private.count_minute('links ' || private.calling_user());
    if counted.times > most then
        return private.refuse(private.limit_refusal(
                   jsonb_build_object('device_links_by_user', jsonb_build_object('quota', most)), 'device_links_by_user', counted.seconds)
               - '{subject,object_id}'::text[]);
    end if;
    return null;
end;
$$;
comment on function private.refuse_frequent_links is 'Counts an attempt of the calling user to link a device or a session, ten a minute; the refusal of a further one, else null.';

create function private.attach_device_session(device public.device_sessions, user_id uuid, linked_with text)
    returns public.device_sessions language plpgsql set search_path = ''
as $$
declare
    attached public.device_sessions;
begin
    update public.device_sessions d
       set user_id   = attach_device_session.user_id,
           linked_with = case when attach_device_session.user_id is not null then attach_device_session.linked_with end,
           linked_at = case when attach_device_session.user_id is not null then now() end
     where d.id = device.id
    returning d.* into attached;
    -- Lists, histories and streams find a user's conversations by these columns.
    perform private.lock_conversation(device.conversation_id);
    update public.conversations c set user_id = attach_device_session.user_id where c.id = device.conversation_id;
    update public.sessions s set user_id = attach_device_session.user_id where s.conversation_id = device.conversation_id;
    perform private.record_change(
        device.workspace_id,
        'device_session.' || case when user_id is null then 'unlinked' when device.user_id is null then 'linked' else 'transferred' end,
        device.id, case when user_id is not null then linked_with end);
    return attached;
end;
$$;
comment on function private.attach_device_session is 'Attaches a locked device session, its conversation and sessions to a user (null: to none), audited.';

create function private.verify_device_link(workspace_id uuid, provider text, uid text, user_id uuid, verified_with text)
    returns public.device_links language plpgsql set search_path = ''
as $$
declare
    link public.device_links;
begin
    -- A device belongs to one user at a time.
    update public.device_links l
       set status = 'revoked', revoked_at = now()
     where l.workspace_id = verify_device_link.workspace_id
       and l.provider = verify_device_link.provider
       and l.uid = verify_device_link.uid
       and l.status = 'verified'
       and l.user_id <> verify_device_link.user_id;
    insert into public.device_links as l (workspace_id, provider, uid, user_id, status, verified_with, verified_at)
    values (verify_device_link.workspace_id, verify_device_link.provider, verify_device_link.uid,
            verify_device_link.user_id, 'verified', verify_device_link.verified_with, now())
    on conflict on constraint device_links_user_key do update
       set status = 'verified', verified_with = excluded.verified_with, verified_at = excluded.verified_at, revoked_at = null
    returning l.* into link;
    perform private.record_change(workspace_id, 'device_link.verified', link.id, verified_with);
    return link;
end;
$$;
comment on function private.verify_device_link is 'Verifies that a device belongs to a user, audited; another user''s verified link is revoked.';

create function public.link_device_session(external_id text default null, claim_hash text default null, unguessable boolean default false)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    linker  constant uuid  := private.calling_user();
    refusal constant jsonb := private.refuse_frequent_links();
    known   uuid;
    device  public.device_sessions;
    code    text;
begin
    if refusal is not null then
        return refusal;
    end if;
    known := private.enter_device_session(external_id, claim_hash);
    -- Refusals are returned, not raised, so that the attempt stays counted. A guess does not tell whether the session exists.
    if known is null then
        return private.refuse(case
            when claim_hash is not null or unguessable then '{"status": 404, "code": "device_session_not_found"}'
            else '{"status": 403, "code": "claim_code_required"}' end::jsonb);
    end if;
    select d.* into strict device from public.device_sessions d where d.id = known for no key update;
    if device.user_id is distinct from linker then
        if claim_hash is null then
            code := case
                when not unguessable
                     or external_id = device.uid
                     or exists (select
                                  from public.device_links l
                                 where l.workspace_id = device.workspace_id and l.uid = link_device_session.external_id)
                    then 'claim_code_required'
                when device.linked_at is not null
                    then 'device_session_linked' end;
        end if;
        if code is not null then
            perform private.record_change(device.workspace_id, 'device_session.link_refused', device.id, code);
            return private.refuse(case code
                when 'device_session_linked' then '{"status": 409, "code": "device_session_linked"}'
                else '{"status": 403, "code": "claim_code_required"}' end::jsonb);
        end if;
        device := private.attach_device_session(device, linker, case when claim_hash is null then 'session_id' else 'claim_code' end);
    end if;
    if claim_hash is not null and device.uid is not null then
        perform private.verify_device_link(device.workspace_id, device.provider, device.uid, linker, 'claim_code');
    end if;
    return private.describe_device_session(device);
end;
$$;
comment on function public.link_device_session is 'Attaches a device session to the calling user, by its claim code, which also transfers it and verifies the link of its device, or by its bare id if that is unguessable, unlinked and not a device''s uid. Refusals are counted and audited. Idempotent for the same user.';

create function public.issue_device_session(
    workspace_id uuid,
    external_id  text,
    claim_hash   text,
    uid          text default null,
    user_id      uuid default null
)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_to_manage('workspace', workspace_id, 'admin');
    device    public.device_sessions;
begin
    insert into public.device_sessions (workspace_id, external_id, claim_hash, uid, user_id, linked_with, linked_at)
    values (workspace, issue_device_session.external_id, issue_device_session.claim_hash, issue_device_session.uid,
            issue_device_session.user_id, case when user_id is not null then 'member' end, case when user_id is not null then now() end)
    returning * into device;
    if uid is not null and user_id is not null then
        perform private.verify_device_link(workspace, device.provider, uid, user_id, 'member');
    end if;
    perform private.record_change(workspace, 'device_session.issued', device.id);
    return private.describe_device_session(device);
exception when foreign_key_violation then
    raise sqlstate 'PT404' using message = 'user_not_found';
end;
$$;
comment on function public.issue_device_session is 'Issues a device session in advance, with the claim code that goes with the device. With a uid and a user, their link is verified. For owners and admins.';

create function public.change_device_session(device_session_id uuid, claim_hash text default null, user_id uuid default null)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_to_manage('device_session', device_session_id, 'admin');
    device    public.device_sessions;
begin
    select d.* into strict device
      from public.device_sessions d
     where d.id = device_session_id
       and d.workspace_id = workspace
       for no key update;
    if claim_hash is not null then
        update public.device_sessions d set claim_hash = change_device_session.claim_hash where d.id = device.id;
        perform private.record_change(workspace, 'device_session.claim_code_replaced', device.id);
    elsif device.user_id is distinct from user_id then
        -- A former user who knows the claim code does not take the session back.
        update public.device_sessions d
           set claim_hash = null
         where d.id = device.id
           and change_device_session.user_id is not null;
        device := private.attach_device_session(device, user_id, 'member');
    end if;
    return private.describe_device_session(device);
exception when foreign_key_violation then
    raise sqlstate 'PT404' using message = 'user_not_found';
end;
$$;
comment on function public.change_device_session is 'Replaces the claim code of a device session, or attaches it to another user (null: to none), and then ends its claim code. For owners and admins.';

create function public.add_device_link(workspace_id uuid, uid text, user_id uuid default null)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    linker  constant uuid  := private.calling_user();
    refusal jsonb;
    link    public.device_links;
begin
    if user_id is null then
        perform private.require_user();
    end if;
    if coalesce(private.caller_role(workspace_id), 'agent') <> 'agent' then
        perform private.enter_to_manage('workspace', workspace_id, 'admin');
        return to_jsonb(private.verify_device_link(workspace_id, 'omi', uid, coalesce(user_id, linker), 'member'));
    end if;
    if user_id <> linker then
        raise sqlstate 'PT403' using message = 'forbidden', detail = 'owners_and_admins_only';
    end if;
    refusal := private.refuse_frequent_links();
    if refusal is not null then
        return refusal;
    end if;
    perform private.enter_as_device_user(workspace_id);
    insert into public.device_links as l (workspace_id, uid, user_id)
    values (add_device_link.workspace_id, add_device_link.uid, linker)
    on conflict on constraint device_links_user_key do update set uid = l.uid
    returning l.* into link;
    perform private.record_change(workspace_id, 'device_link.asserted', link.id);
    return to_jsonb(link);
exception when foreign_key_violation or not_null_violation then
    raise sqlstate 'PT404' using message = 'user_not_found';
end;
$$;
comment on function public.add_device_link is 'Links a device to a user: an owner or admin verifies the link at once, a user says that a device is theirs, which stays unverified. A repeat returns the link.';

create function public.change_device_link(link_id uuid, verified boolean)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    link public.device_links;
begin
    if verified or not private.enter_own_device_link(link_id) then
        perform private.enter_to_manage('device_link', link_id, 'admin');
    end if;
    select l.* into strict link from public.device_links l where l.id = change_device_link.link_id for no key update;
    if verified and link.status <> 'verified' then
        link := private.verify_device_link(link.workspace_id, link.provider, link.uid, link.user_id, 'member');
    elsif not verified and link.status <> 'revoked' then
        update public.device_links l
           set status = 'revoked', revoked_at = now()
         where l.id = link.id
        returning l.* into link;
        perform private.record_change(link.workspace_id, 'device_link.revoked', link.id);
    end if;
    return to_jsonb(link);
end;
$$;
comment on function public.change_device_link is 'Verifies a device link, for owners and admins, or revokes it, for them and its own user; sessions that it attached stay with the user.';

grant execute on function
    private.enter_device_session, private.enter_as_device_user, private.refuse_frequent_links, public.link_device_session
    to switchboard;

grant execute on function
    private.describe_device_session, private.attach_device_session, private.verify_device_link, private.enter_own_device_link,
    public.issue_device_session, public.change_device_session, public.add_device_link, public.change_device_link
    to service_role, switchboard;
