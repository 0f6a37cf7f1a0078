-- Making and changing spaces and personas, and rotating their secrets.

set lock_timeout = '5s';
set statement_timeout = '60s';

create function private.require_persona(workspace_id uuid, persona_id uuid)
    returns void
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    if not exists (select
                     from public.personas p
                    where p.id = require_persona.persona_id
                      and p.workspace_id = require_persona.workspace_id) then
        raise sqlstate 'PT404' using message = 'persona_not_found', detail = 'There is no such persona.';
    end if;
end;
$$;
comment on function private.require_persona(uuid, uuid) is 'Refuses a persona that is not the workspace''s.';

create function private.apply_to_space(space public.spaces, changes jsonb)
    returns public.spaces
    language sql
    volatile
    set search_path = ''
as $$
    update public.spaces s
       set (name, persona_id, allowed_origins, arrivals_per_minute, arrivals_per_minute_by_address, enabled)
         = (select n.name, n.persona_id, n.allowed_origins, n.arrivals_per_minute, n.arrivals_per_minute_by_address, n.enabled
              from pg_catalog.jsonb_populate_record(s, changes) n)
     where s.id = space.id
    returning s.*;
$$;
comment on function private.apply_to_space(public.spaces, jsonb) is 'Writes the given members of a space''s settings; the others stay.';

create function public.create_space(workspace_id uuid, space jsonb)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
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
            raise sqlstate 'PT409' using message = 'id_taken', detail = 'Something else has this id.';
        end if;
        return private.describe_space(made);
    end if;
    made := private.apply_to_space(made, space);
    perform private.record_change(workspace, 'space.created', made.id);
    return private.describe_space(made);
end;
$$;
comment on function public.create_space(uuid, jsonb) is 'Adds a space to a workspace; the same id again gives the same space. For owners and admins.';

create function public.change_space(space_id uuid, changes jsonb)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
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
comment on function public.change_space(uuid, jsonb) is 'Changes the given settings of a space; for owners and admins.';

create function public.rotate_hmac_secret(space_id uuid, overlap_seconds integer)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_as_admin('space', space_id);
    secret    constant text := private.new_secret();
begin
    perform private.replace_secret('hmac', space_id, secret, overlap_seconds);
    perform private.record_change(workspace, 'space.secret_rotated', space_id);
    return pg_catalog.jsonb_build_object('secret', secret);
end;
$$;
comment on function public.rotate_hmac_secret(uuid, integer) is
    'Makes a space''s new HMAC secret and tells it this once; older ones are accepted for so many seconds yet. For owners and admins.';

create function public.remove_hmac_secret(space_id uuid)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_as_admin('space', space_id);
begin
    if private.replace_secret('hmac', space_id, null, 0) then
        perform private.record_change(workspace, 'space.secret_removed', space_id);
    end if;
    return pg_catalog.jsonb_build_object('removed', true);
end;
$$;
comment on function public.remove_hmac_secret(uuid) is 'Takes a space''s HMAC secret away, and older ones with it; repeating it changes nothing. For owners and admins.';

grant execute on function
    private.require_persona(uuid, uuid), private.apply_to_space(public.spaces, jsonb), public.create_space(uuid, jsonb),
    public.change_space(uuid, jsonb), public.rotate_hmac_secret(uuid, integer), public.remove_hmac_secret(uuid)
    to switchboard, service_role;

create function public.list_spaces(workspace_id uuid, after uuid default null, page_size integer default 50)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    perform public.read_workspace(workspace_id);
    return (select private.page(pg_catalog.jsonb_agg(private.describe_space(s) order by s.id), page_size, 'id')
              from (select s.*
                      from public.spaces s
                     where s.workspace_id = list_spaces.workspace_id
                       and (list_spaces.after is null or s.id > list_spaces.after)
                     order by s.id
                     limit page_size + 1) s);
end;
$$;
comment on function public.list_spaces(uuid, uuid, integer) is 'A page of a workspace''s spaces, for its members.';

create function public.read_space(space_id uuid)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    found_space public.spaces;
begin
    select s.* into found_space from public.spaces s where s.id = read_space.space_id;
    if not found then
        raise sqlstate 'PT404' using message = 'space_not_found', detail = 'There is no such space.';
    end if;
    return private.describe_space(found_space);
end;
$$;
comment on function public.read_space(uuid) is 'A space, for its workspace''s members.';

-- Personas ------------------------------------------------------------------------------------------------------------

create function private.apply_to_persona(persona public.personas, changes jsonb)
    returns public.personas
    language sql
    volatile
    set search_path = ''
as $$
    update public.personas p
       set (name, config, session_policy, history_limit, time_limit_seconds, enabled, turn_policy, breaker_failures,
            breaker_seconds)
         = (select n.name, n.config, n.session_policy, n.history_limit, n.time_limit_seconds, n.enabled, n.turn_policy,
                   n.breaker_failures, n.breaker_seconds
              from pg_catalog.jsonb_populate_record(p, changes) n)
     where p.id = persona.id
    returning p.*;
$$;
comment on function private.apply_to_persona(public.personas, jsonb) is 'Writes the given members of a persona''s settings; the others stay.';

create function public.create_persona(workspace_id uuid, persona jsonb)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_as_admin('workspace', workspace_id);
    wanted    constant uuid := coalesce((persona ->> 'id')::uuid, private.uuid7());
    made public.personas;
begin
    insert into public.personas (id, workspace_id, kind, name)
    values (wanted, workspace, persona ->> 'kind', persona ->> 'name')
    on conflict on constraint personas_pkey do nothing
    returning * into made;
    if not found then
        select p.* into made from public.personas p where p.id = wanted and p.workspace_id = workspace;
        if not found then
            raise sqlstate 'PT409' using message = 'id_taken', detail = 'Something else has this id.';
        end if;
        return private.describe_persona(made);
    end if;
    made := private.apply_to_persona(made, persona);
    perform private.record_change(workspace, 'persona.created', made.id);
    return private.describe_persona(made);
end;
$$;
comment on function public.create_persona(uuid, jsonb) is 'Adds a persona to a workspace; the same id again gives the same persona. For owners and admins.';

create function private.retry_persona(persona_id uuid)
    returns void
    language sql
    volatile
    set search_path = ''
as $$
    update public.persona_breakers b
       set retry_at = pg_catalog.clock_timestamp()
     where b.persona_id = retry_persona.persona_id
       and b.state = 'open';
$$;
comment on function private.retry_persona(uuid) is
    'Lets the next message find out whether a persona is back, without waiting: what was wrong with it may just have been set right.';

create function public.change_persona(persona_id uuid, changes jsonb)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_as_admin('persona', persona_id);
    before public.personas;
    made   public.personas;
begin
    select p.* into before from public.personas p where p.id = persona_id and p.workspace_id = workspace for no key update;
    made := private.apply_to_persona(before, changes);
    if made is distinct from before then
        perform private.record_change(workspace, 'persona.changed', persona_id);
    end if;
    if (made.config, made.breaker_failures, made.breaker_seconds) is distinct from
       (before.config, before.breaker_failures, before.breaker_seconds) then
        perform private.retry_persona(persona_id);
    end if;
    return private.describe_persona(made);
end;
$$;
comment on function public.change_persona(uuid, jsonb) is 'Changes the given settings of a persona; its kind stays. For owners and admins.';

create function public.set_persona_secret(persona_id uuid, secret text)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_as_admin('persona', persona_id);
begin
    perform private.replace_secret('secret', persona_id, secret, 0);
    perform private.record_change(workspace, 'persona.secret_set', persona_id);
    perform private.retry_persona(persona_id);
    return pg_catalog.jsonb_build_object('set', true);
end;
$$;
comment on function public.set_persona_secret(uuid, text) is 'Keeps what a persona sends with its calls, in place of what it sent before. For owners and admins.';

create function public.remove_persona_secret(persona_id uuid)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_as_admin('persona', persona_id);
begin
    if private.replace_secret('secret', persona_id, null, 0) then
        perform private.record_change(workspace, 'persona.secret_removed', persona_id);
    end if;
    return pg_catalog.jsonb_build_object('removed', true);
end;
$$;
comment on function public.remove_persona_secret(uuid) is 'Takes away what a persona sends with its calls; repeating it changes nothing. For owners and admins.';

create function public.rotate_callback_secret(persona_id uuid, overlap_seconds integer)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_as_admin('persona', persona_id);
    secret    constant text := private.new_secret();
begin
    perform private.replace_secret('callback', persona_id, secret, overlap_seconds);
    perform private.record_change(workspace, 'persona.callback_secret_rotated', persona_id);
    return pg_catalog.jsonb_build_object('secret', secret);
end;
$$;
comment on function public.rotate_callback_secret(uuid, integer) is
    'Makes the new secret of a persona''s asynchronous answers and tells it this once; older ones are accepted for so many seconds yet. For owners and admins.';

create function public.remove_callback_secret(persona_id uuid)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_as_admin('persona', persona_id);
begin
    if private.replace_secret('callback', persona_id, null, 0) then
        perform private.record_change(workspace, 'persona.callback_secret_removed', persona_id);
    end if;
    return pg_catalog.jsonb_build_object('removed', true);
end;
$$;
comment on function public.remove_callback_secret(uuid) is
    'Takes away the secret of a persona''s asynchronous answers, and older ones with it; repeating it changes nothing. For owners and admins.';

grant execute on function
    private.apply_to_persona(public.personas, jsonb), private.retry_persona(uuid), public.create_persona(uuid, jsonb), public.change_persona(uuid, jsonb),
    public.set_persona_secret(uuid, text), public.remove_persona_secret(uuid), public.rotate_callback_secret(uuid, integer),
    public.remove_callback_secret(uuid)
    to switchboard, service_role;

create function public.list_personas(workspace_id uuid, after uuid default null, page_size integer default 50)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    perform public.read_workspace(workspace_id);
    return (select private.page(pg_catalog.jsonb_agg(private.describe_persona(p) order by p.id), page_size, 'id')
              from (select p.*
                      from public.personas p
                     where p.workspace_id = list_personas.workspace_id
                       and (list_personas.after is null or p.id > list_personas.after)
                     order by p.id
                     limit page_size + 1) p);
end;
$$;
comment on function public.list_personas(uuid, uuid, integer) is 'A page of a workspace''s personas, for its members.';

create function public.read_persona(persona_id uuid)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    found_persona public.personas;
begin
    select p.* into found_persona from public.personas p where p.id = read_persona.persona_id;
    if not found then
        raise sqlstate 'PT404' using message = 'persona_not_found', detail = 'There is no such persona.';
    end if;
    return private.describe_persona(found_persona);
end;
$$;
comment on function public.read_persona(uuid) is 'A persona, for its workspace''s members.';

grant execute on function
    public.list_spaces(uuid, uuid, integer), public.read_space(uuid), public.list_personas(uuid, uuid, integer),
    public.read_persona(uuid)
    to authenticated, service_role;
