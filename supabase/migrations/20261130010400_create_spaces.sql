-- Generated from supabase/schemas/14_spaces.sql.
set lock_timeout = '5s';
set statement_timeout = '60s';
set check_function_bodies = off;

-- Spaces: the places where contacts arrive, and how they are managed.

create type public.space_kind as enum ('embed', 'landing');
comment on type public.space_kind is 'embed: a chat inside a page; landing: a page of its own (app).';

create table public.spaces (
    id                             uuid              not null default private.uuid7(),
    workspace_id                   uuid              not null,
    kind                           public.space_kind not null,
    name                           text              not null,
    persona_id                     uuid              not null,
    allowed_origins                text[]            not null default '{}',
    hmac_secret_id                 uuid,
    arrivals_per_minute            integer           not null default 1200,
    arrivals_per_minute_by_address integer           not null default 120,
    enabled                        boolean           not null default true,
    created_at                     timestamptz       not null default now(),
    constraint spaces_pkey              primary key (id),
    constraint spaces_workspace_key     unique (workspace_id, id),
    constraint spaces_workspace_id_fkey foreign key (workspace_id) references public.workspaces (id) on delete cascade,
    constraint spaces_persona_id_fkey   foreign key (workspace_id, persona_id) references public.personas (workspace_id, id) deferrable initially deferred,
    constraint spaces_name_length       check (length(name) between 1 and 200),
    constraint spaces_arrivals          check (arrivals_per_minute > 0 and arrivals_per_minute_by_address > 0)
);
comment on table public.spaces is 'A place where contacts arrive: an embedded chat or a landing page.';
comment on column public.spaces.allowed_origins is 'Origins whose pages may call from a browser, like https://www.example.com; * for any.';
comment on column public.spaces.hmac_secret_id is 'Vault secret under which the customer''s own server signs emails (HMAC-SHA256, hex).';
comment on column public.spaces.arrivals_per_minute is 'Registrations and first messages without a token that the space takes in a minute.';
comment on column public.spaces.arrivals_per_minute_by_address is 'The same from one network address.';
alter table public.spaces enable row level security;
create index spaces_persona_id_idx on public.spaces (persona_id);

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

create function private.enter_space(space_id uuid)
    returns void language plpgsql set search_path = ''
as $$
declare
    scope     constant jsonb := private.claims() -> 'scope';
    workspace constant uuid  := private.workspace_of_space(space_id);
begin
    if workspace is null
       or (scope ->> 'space_id')::uuid is distinct from space_id
       or workspace <> (scope ->> 'workspace_id')::uuid then
        raise sqlstate 'PT404' using message = 'space_not_found';
    end if;
    perform set_config('switchboard.workspace_id', workspace::text, true);
end;
$$;
comment on function private.enter_space is 'Enters the workspace of the space that the caller''s token is for; a token that names a workspace too is for that one alone.';

create function private.persona_of_space(space_id uuid)
    returns uuid language sql stable security definer set search_path = ''
as $$
    select s.persona_id from public.spaces s where s.id = persona_of_space.space_id and s.enabled;
$$;
comment on function private.persona_of_space is 'The persona that answers in a space; null where there is no such space or it is closed.';

create function private.describe_space(space public.spaces)
    returns jsonb language sql stable set search_path = ''
as $$
    select to_jsonb(space) - 'hmac_secret_id'
           || jsonb_build_object('has_hmac_secret', space.hmac_secret_id is not null);
$$;
comment on function private.describe_space is 'A space as its workspace''s members see it: of its secret only whether there is one.';

create function private.apply_to_space(space public.spaces, changes jsonb)
    returns public.spaces language sql set search_path = ''
as $$
    update public.spaces s
       set (name, persona_id, allowed_origins, arrivals_per_minute, arrivals_per_minute_by_address, enabled)
         = (select n.name, n.persona_id, n.allowed_origins, n.arrivals_per_minute, n.arrivals_per_minute_by_address, n.enabled
              from jsonb_populate_record(s, changes) n)
     where s.id = space.id
    returning s.*;
$$;
comment on function private.apply_to_space is 'Writes the given members of a space''s settings; the others stay.';

create function public.create_space(workspace_id uuid, space jsonb)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_as_admin('workspace', workspace_id);
    wanted    constant uuid := coalesce((space ->> 'id')::uuid, private.uuid7());
    made public.spaces;
begin
    perform private.require_persona(workspace, (space ->> 'persona_id')::uuid);
    insert into public.spaces (id, workspace_id, kind, name, persona_id)
    values (wanted, workspace, (space ->> 'kind')::public.space_kind, space ->> 'name', (space ->> 'persona_id')::uuid)
    on conflict on constraint spaces_pkey do nothing
    returning * into made;
    if not found then
        select s.* into made from public.spaces s where s.id = wanted and s.workspace_id = workspace;
        if not found then
            raise sqlstate 'PT409' using message = 'id_taken';
        end if;
        return private.describe_space(made);
    end if;
    made := private.apply_to_space(made, space);
    perform private.record_change(workspace, 'space.created', made.id);
    return private.describe_space(made);
end;
$$;
comment on function public.create_space is 'Adds a space to a workspace; the same id again gives the same space. For owners and admins.';

create function public.change_space(space_id uuid, changes jsonb)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_as_admin('space', space_id);
    before public.spaces;
    made   public.spaces;
begin
    select s.* into before from public.spaces s where s.id = space_id and s.workspace_id = workspace for no key update;
    if changes ? 'persona_id' then
        perform private.require_persona(workspace, (changes ->> 'persona_id')::uuid);
    end if;
    made := private.apply_to_space(before, changes);
    if made is distinct from before then
        perform private.record_change(workspace, 'space.changed', space_id);
    end if;
    return private.describe_space(made);
end;
$$;
comment on function public.change_space is 'Changes the given settings of a space; for owners and admins.';

create function public.rotate_hmac_secret(space_id uuid, overlap_seconds integer)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_as_admin('space', space_id);
    secret    constant text := private.new_secret();
begin
    perform private.replace_secret('hmac', space_id, secret, overlap_seconds);
    perform private.record_change(workspace, 'space.secret_rotated', space_id);
    return jsonb_build_object('secret', secret);
end;
$$;
comment on function public.rotate_hmac_secret is 'Makes a space''s new HMAC secret and tells it this once; older ones are accepted for so many seconds yet. For owners and admins.';

create function public.remove_hmac_secret(space_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_as_admin('space', space_id);
begin
    if private.replace_secret('hmac', space_id, null, 0) then
        perform private.record_change(workspace, 'space.secret_removed', space_id);
    end if;
    return jsonb_build_object('removed', true);
end;
$$;
comment on function public.remove_hmac_secret is 'Takes a space''s HMAC secret away, and older ones with it; repeating it changes nothing. For owners and admins.';

create view public.space_settings with (security_invoker = true) as
select s.id, s.workspace_id, s.kind, s.name, s.persona_id, s.allowed_origins, s.arrivals_per_minute,
       s.arrivals_per_minute_by_address, s.enabled, s.hmac_secret_id is not null as has_hmac_secret, s.created_at
  from public.spaces s;
comment on view public.space_settings is 'A space as its workspace''s members see it: of its secret only whether there is one.';

create function public.delete_space(space_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_as_owner('space', space_id);
begin
    -- Locked first: a conversation that is opened in this moment waits, and does not find the space any more.
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
comment on function public.delete_space is 'Deletes a space in which no session is active or paused, and its secrets; what was said there stays, without a space. For owners.';

grant execute on function
    private.workspace_of_space, public.space_origins, private.enter_space
    to switchboard;

grant execute on function
    private.persona_of_space
    to authenticated;

grant execute on function
    private.describe_space
    to service_role, switchboard;

grant execute on function
    private.apply_to_space, public.create_space, public.change_space, public.rotate_hmac_secret,
    public.remove_hmac_secret, public.delete_space
    to service_role, switchboard;
