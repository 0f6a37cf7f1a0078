-- Generated from supabase/schemas/13_api_keys.sql.
set lock_timeout = '5s';
set statement_timeout = '60s';
set check_function_bodies = off;

-- API keys: machines act as members of a workspace.

create type public.api_key_role as enum ('admin', 'agent', 'ingest');
comment on type public.api_key_role is 'admin and agent have the rights of such a member; an agent''s key sees the sessions that it opened. ingest registers and resolves contacts and sends messages, and reads nothing.';

create table public.api_keys (
    id           uuid                not null,
    workspace_id uuid                not null,
    name         text                not null,
    role         public.api_key_role not null,
    hash         text                not null,
    prefix       text                not null generated always as ('swb_' || left(replace(id::text, '-', ''), 12)) stored,
    created_by   uuid,
    created_at   timestamptz         not null default now(),
    expires_at   timestamptz,
    last_used_at timestamptz,
    revoked_at   timestamptz,
    constraint api_keys_pkey              primary key (id),
    constraint api_keys_workspace_key     unique (workspace_id, id),
    constraint api_keys_workspace_id_fkey foreign key (workspace_id) references public.workspaces (id) on delete cascade,
    constraint api_keys_name              check (length(name) between 1 and 200),
    constraint api_keys_hash              check (hash ~ '^[0-9a-f]{64}$')
);
comment on table public.api_keys is 'Credentials of machines. A revoked key stays, because messages and audit events name it.';
comment on column public.api_keys.id is 'A part of the key, and in messages and audit events the key in the place of a user.';
comment on column public.api_keys.hash is 'SHA-256 of the whole key, in hex. The key has 256 random bits, which no search finds: a slow hash would only slow down each request.';
comment on column public.api_keys.prefix is 'How the key begins, to recognise it.';
comment on column public.api_keys.created_by is 'The user who created it; null: an operator.';
comment on column public.api_keys.last_used_at is 'To the minute.';
alter table public.api_keys enable row level security;

create function private.require_valid_key(command text)
    returns void language plpgsql stable security definer set search_path = ''
as $$
declare
    claims constant jsonb := private.claims();
    bearer constant jsonb := coalesce(claims -> 'caller', claims);
    key    public.api_keys;
begin
    if not bearer ? 'key_hash' then
        return;
    end if;
    select k.* into key
      from public.api_keys k
     where k.id = coalesce(bearer ->> 'user_id', bearer ->> 'sub')::uuid
       and k.hash = bearer ->> 'key_hash'
       and k.revoked_at is null;
    if not found then
        raise sqlstate 'PT401' using message = 'api_key_invalid';
    elsif key.expires_at <= now() then
        raise sqlstate 'PT401' using message = 'api_key_expired';
    elsif key.role = 'ingest' and command not in ('register_contact', 'resolve_contact', 'capture_message', 'start_turn', 'open_stream', 'close_stream') then
        raise sqlstate 'PT403' using message = 'forbidden', detail = 'ingest_key';
    end if;
end;
$$;
comment on function private.require_valid_key is 'Refuses an API key that is unknown, revoked or expired, and one for ingest that calls anything but the commands of its role; other callers pass.';

create function private.admit_key(command text)
    returns boolean language plpgsql security definer set search_path = ''
as $$
declare
    key_id constant uuid := coalesce(private.calling_user(), auth.uid());
begin
    perform private.require_valid_key(command);
    perform set_config('switchboard.admitted_key', key_id::text, true);
    -- Without waiting for another transaction that notes the same.
    update public.api_keys k
       set last_used_at = now()
     where k.id = (select u.id
                     from public.api_keys u
                    where u.id = key_id
                      and coalesce(u.last_used_at <= now() - interval '1 minute', true)
                      for no key update skip locked);
    return true;
end;
$$;
comment on function private.admit_key is 'Admits the API key that calls to a command, or refuses it, and notes its use: the first step of each command of a key, in the command''s own transaction.';

create function private.is_limited_key()
    returns boolean language sql stable security definer set search_path = ''
as $$
    select exists (select
                     from public.api_keys k
                    where k.id = private.calling_user()
                      and k.role <> 'admin'
                      and private.calling_kind() = 'key');
$$;
comment on function private.is_limited_key is 'Whether the caller is an API key that may not read every contact: an agent''s, or one for ingest.';

create function private.describe_key(key public.api_keys)
    returns jsonb language sql stable set search_path = ''
as $$
    select to_jsonb(key) - 'hash';
$$;
comment on function private.describe_key is 'An API key as its workspace sees it.';

create function public.create_api_key(
    workspace_id uuid,
    key_id       uuid,
    hash         text,
    name         text,
    role         public.api_key_role,
    expires_at   timestamptz default null
)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_to_manage('workspace', workspace_id, 'admin');
    made      public.api_keys;
begin
    perform private.require_user();
    if expires_at <= now() then
        raise sqlstate 'PT422' using message = 'invalid_body', detail = 'expiry_in_the_past';
    end if;
    insert into public.api_keys as k (id, workspace_id, hash, name, role, created_by, expires_at)
    values (key_id, workspace, create_api_key.hash, create_api_key.name, create_api_key.role, private.calling_user(),
            create_api_key.expires_at)
    returning k.* into made;
    perform private.record_change(workspace, 'api_key.created', made.id, made.role::text);
    return private.describe_key(made);
end;
$$;
comment on function public.create_api_key is 'Stores a new API key, of which the database knows only the hash; for owners and admins. {id, name, role, prefix, …}';

create function public.revoke_api_key(workspace_id uuid, key_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_to_manage('workspace', workspace_id, 'admin');
    revoked   public.api_keys;
begin
    perform private.require_user();
    update public.api_keys k
       set revoked_at = now()
     where k.id = key_id
       and k.workspace_id = workspace
       and k.revoked_at is null
    returning k.* into revoked;
    if found then
        perform private.record_change(workspace, 'api_key.revoked', key_id, revoked.role::text);
    elsif not exists (select from public.api_keys k where k.id = key_id and k.workspace_id = workspace) then
        raise sqlstate 'PT404' using message = 'api_key_not_found';
    end if;
    return '{}'::jsonb;
end;
$$;
comment on function public.revoke_api_key is 'Revokes an API key at once; a revoked one stays so. For owners and admins: {}.';

grant execute on function
    private.require_valid_key
    to authenticated;

grant execute on function
    private.admit_key
    to authenticated, switchboard;

grant execute on function
    private.is_limited_key
    to service_role, switchboard;

grant execute on function
    private.describe_key, public.create_api_key, public.revoke_api_key
    to service_role, switchboard;
