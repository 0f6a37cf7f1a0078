-- Generated from supabase/schemas/14_spaces.sql.
set lock_timeout = '5s';
set statement_timeout = '60s';
set check_function_bodies = off;

-- Spaces: the places where contacts arrive, and how they are managed.

create type public.space_kind as enum ('embed', 'landing');
comment on type public.space_kind is 'embed: a chat inside a page; landing: a page of its own (app).';

create type public.space_identity as enum ('any', 'token');
comment on type public.space_identity is 'Which proofs of the customer''s own server a space accepts. any: identity tokens and HMACs of emails; token: identity tokens only.';

create table public.spaces (
    id                             uuid                  not null default private.uuid7(),
    workspace_id                   uuid                  not null,
    kind                           public.space_kind     not null,
    name                           text                  not null,
    persona_id                     uuid                  not null,
    allowed_origins                text[]                not null default '{}',
    hmac_secret_id                 uuid,
    identity                       public.space_identity not null default 'any',
    arrivals_per_minute            integer               not null default 1200,
    arrivals_per_minute_by_address integer               not null default 120,
    enabled                        boolean               not null default true,
    created_at                     timestamptz           not null default now(),
    tokens_revoked_at              timestamptz,
    look                           jsonb                 not null default '{}',
    constraint spaces_pkey              primary key (id),
    constraint spaces_workspace_key     unique (workspace_id, id),
    constraint spaces_workspace_id_fkey foreign key (workspace_id) references public.workspaces (id) on delete cascade,
    constraint spaces_persona_id_fkey   foreign key (workspace_id, persona_id) references public.personas (workspace_id, id) deferrable initially deferred,
    constraint spaces_name_length       check (length(name) between 1 and 200),
    constraint spaces_arrivals          check (arrivals_per_minute > 0 and arrivals_per_minute_by_address > 0),
    constraint spaces_look                 check (jsonb_typeof(look) = 'object' and octet_length(look::text) <= 40000)
);
comment on table public.spaces is 'A place where contacts arrive: an embedded chat or a landing page.';
comment on column public.spaces.allowed_origins is 'Origins whose pages may call from a browser, like https://www.example.com; * for any.';
comment on column public.spaces.hmac_secret_id is 'Vault secret under which the customer''s own server signs emails (HMAC-SHA256, hex) and identity tokens (JWT, HS256).';
comment on column public.spaces.identity is 'Which of the two are proof here. An HMAC is valid until the secret is replaced, an identity token for at most an hour.';
comment on column public.spaces.arrivals_per_minute is 'Registrations and first messages without a token that the space takes in a minute.';
comment on column public.spaces.arrivals_per_minute_by_address is 'The same from one network address.';
comment on column public.spaces.tokens_revoked_at is 'Contact tokens that were issued here before are invalid; null: none is. Moved when the space is disabled, and when its secret is replaced without an overlap.';
comment on column public.spaces.look is 'How the embedded chat looks there: {labels?, quick_replies?, languages?}. Public.';
alter table public.spaces enable row level security;
create index spaces_persona_id_idx on public.spaces (persona_id);

create function private.lock_space_tokens(space_id uuid, is_issuing boolean)
    returns void language plpgsql set search_path = ''
as $$
declare
    key constant bigint := hashtextextended('switchboard.space_tokens.' || space_id, 0);
begin
    if is_issuing then
        perform pg_advisory_xact_lock_shared(key);
    else
        perform pg_advisory_xact_lock(key);
    end if;
end;
$$;
comment on function private.lock_space_tokens is 'A revocation waits for the calls that may be issuing tokens of the space, and calls that begin later wait for it: no token is proven by what is revoked and issued after the cut-off.';

create function private.revoke_space_tokens()
    returns trigger language plpgsql set search_path = ''
as $$
begin
    perform private.lock_space_tokens(new.id, false);
    new.tokens_revoked_at := clock_timestamp();
    return new;
end;
$$;
comment on function private.revoke_space_tokens is 'Revokes the contact tokens that were issued in a space.';

create trigger spaces_revoke_tokens before update of enabled on public.spaces
    for each row when (old.enabled and not new.enabled) execute function private.revoke_space_tokens();

create function private.workspace_of_space(space_id uuid)
    returns uuid language plpgsql stable security definer set search_path = ''
as $$
begin
    return (select s.workspace_id from public.spaces s where s.id = workspace_of_space.space_id and s.enabled);
end;
$$;
comment on function private.workspace_of_space is 'The workspace of an enabled space; null for any other id.';

create function public.space_origins(space_id uuid)
    returns jsonb language plpgsql stable set search_path = ''
as $$
begin
    perform private.enter_space(space_id);
    return (select jsonb_build_object('origins', s.allowed_origins)
              from public.spaces s
             where s.id = space_origins.space_id);
end;
$$;
comment on function public.space_origins is 'Which origins'' pages may call a space from a browser: {origins: […]}.';

create function public.space_look(space_id uuid)
    returns jsonb language plpgsql stable set search_path = ''
as $$
begin
    perform private.enter_space(space_id);
    return (select s.look || jsonb_build_object('persona', jsonb_build_object('name', p.name, 'picture', p.picture))
              from public.spaces s
              join public.personas p on p.workspace_id = s.workspace_id and p.id = s.persona_id
             where s.id = space_look.space_id);
end;
$$;
comment on function public.space_look is 'How the embedded chat looks in a space: its look, and {persona: {name, picture}}.';

create function private.enter_space(space_id uuid)
    returns void language plpgsql set search_path = ''
as $$
declare
    scope     constant jsonb := private.claims() -> 'scope';
    workspace uuid;
begin
    -- First: the statements after it see what a revocation has changed.
    perform private.lock_space_tokens(space_id, true);
    workspace := private.workspace_of_space(space_id);
    perform private.require_valid_token();
    if workspace is null
       or (scope ->> 'space_id')::uuid is distinct from space_id
       or workspace <> (scope ->> 'workspace_id')::uuid
       or (private.calling_kind() = 'key'
           and workspace not in (select m.workspace_id from private.memberships(private.calling_user()) m)) then
        raise sqlstate 'PT404' using message = 'space_not_found';
    end if;
    perform set_config('switchboard.workspace_id', workspace::text, true);
end;
$$;
comment on function private.enter_space is 'Enters the workspace of the space that the caller''s token is for; a token that names a workspace too is for that one alone, as is an API key for its own. Refuses a revoked token.';

create function private.persona_of_space(space_id uuid)
    returns uuid language sql stable security definer set search_path = ''
as $$
    select s.persona_id from public.spaces s where s.id = persona_of_space.space_id and s.enabled;
$$;
comment on function private.persona_of_space is 'The persona that answers in a space; null where there is no such space or it is closed.';

create view public.space_settings with (security_invoker = true) as
select s.id, s.workspace_id, s.kind, s.name, s.persona_id, s.allowed_origins, s.identity, s.arrivals_per_minute,
       s.arrivals_per_minute_by_address, s.enabled, s.hmac_secret_id is not null as has_hmac_secret, s.created_at, s.look
  from public.spaces s;
comment on view public.space_settings is 'The spaces of a workspace as its members see them: of the secret, only whether there is one.';

create function public.delete_space(space_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_to_manage('space', space_id, 'owner');
begin
    -- Locked first: a conversation that is opened at the same time waits, and then does not find the space.
    perform from public.spaces s where s.id = delete_space.space_id and s.workspace_id = workspace for update;
    if not found then
        raise sqlstate 'PT404' using message = 'space_not_found';
    end if;
    if exists (select
                 from public.conversations c
                 join public.sessions s on s.conversation_id = c.id
                where c.workspace_id = workspace
                  and c.space_id = delete_space.space_id
                  and s.workspace_id = workspace
                  and s.status in ('active', 'paused')) then
        raise sqlstate 'PT409' using message = 'space_in_use';
    end if;
    delete from public.spaces s where s.id = delete_space.space_id and s.workspace_id = workspace;
    perform private.record_change(workspace, 'space.deleted', space_id);
    return jsonb_build_object('removed', true);
end;
$$;
comment on function public.delete_space is 'Deletes a space and its secrets, unless a session there is active or paused; its conversations stay, without a space. For owners.';

grant execute on function
    private.workspace_of_space, public.space_origins, public.space_look, private.lock_space_tokens, private.enter_space
    to switchboard;

grant execute on function
    private.persona_of_space
    to authenticated;

grant execute on function
    public.delete_space
    to service_role, switchboard;
