-- Generated from supabase/schemas/12_personas.sql.
set lock_timeout = '5s';
set statement_timeout = '60s';
set check_function_bodies = off;

-- Personas: the responders of a workspace, and how they are managed.

create type public.session_policy as enum ('per_conversation', 'per_message');
comment on type public.session_policy is 'per_conversation: a session lives through many turns; per_message: each message is a session and ends with its turn.';

create type public.turn_policy as enum ('refuse', 'interrupt');
comment on type public.turn_policy is 'What a message does while the one before is being answered. refuse: it is told to wait; interrupt: it cancels that answer.';

create table public.personas (
    id                 uuid                  not null default private.uuid7(),
    workspace_id       uuid                  not null,
    kind               text                  not null,
    name               text                  not null,
    config             jsonb                 not null default '{}',
    secret_id          uuid,
    callback_secret_id uuid,
    session_policy     public.session_policy not null default 'per_conversation',
    history_limit      integer               not null default 20,
    time_limit_seconds integer               not null default 120,
    enabled            boolean               not null default true,
    created_at         timestamptz           not null default now(),
    turn_policy        public.turn_policy    not null default 'refuse',
    breaker_failures   integer               not null default 5,
    breaker_seconds    integer               not null default 30,
    constraint personas_pkey               primary key (id),
    constraint personas_workspace_key      unique (workspace_id, id),
    constraint personas_workspace_id_fkey  foreign key (workspace_id) references public.workspaces (id) on delete cascade,
    constraint personas_kind_form          check (kind ~ '^[a-z][a-z0-9_]{0,31}$'),
    constraint personas_name_length        check (length(name) between 1 and 200),
    constraint personas_config_object      check (jsonb_typeof(config) = 'object'),
    constraint personas_history_limit      check (history_limit between 0 and 200),
    constraint personas_time_limit_seconds check (time_limit_seconds between 1 and 840),
    -- A workspace has a handful of personas; checking them all takes no time.
    constraint personas_breaker            check (breaker_failures between 0 and 1000 and breaker_seconds between 1 and 3600)
);
comment on table public.personas is 'Who answers: an n8n webhook, a language model, or the built-in demo.';
comment on column public.personas.kind is 'The module of lib/personas that answers.';
comment on column public.personas.secret_id is 'Vault secret sent with outgoing calls.';
comment on column public.personas.callback_secret_id is 'Vault secret that asynchronous answers must carry.';
comment on column public.personas.history_limit is 'How many earlier messages the persona is given.';
comment on column public.personas.time_limit_seconds is 'How long one turn may take; below the function''s own limit (900 s on AWS Lambda).';
comment on column public.personas.turn_policy is 'What a message does while the one before is being answered.';
comment on column public.personas.breaker_failures is 'After so many failures in a row the persona is left alone; 0: never.';
comment on column public.personas.breaker_seconds is 'For so long; then one turn finds out whether it is back.';
alter table public.personas enable row level security;

create function private.describe_persona(persona public.personas)
    returns jsonb language plpgsql stable set search_path = ''
as $$
declare
    breaker public.persona_breakers;
begin
    -- Under the policies of whoever reads, like the persona.
    select b.* into breaker from public.persona_breakers b where b.persona_id = persona.id;
    if not found or persona.breaker_failures = 0 then
        breaker.state    := 'closed';
        breaker.retry_at := null;
    end if;
    return to_jsonb(persona) - array['secret_id', 'callback_secret_id']
           || jsonb_build_object(
                  'has_secret', persona.secret_id is not null,
                  'has_callback_secret', persona.callback_secret_id is not null,
                  'breaker', jsonb_build_object(
                      'state', breaker.state, 'failures', coalesce(breaker.failures, 0), 'refused', coalesce(breaker.refused, 0),
                      'opened_at', breaker.opened_at, 'retry_at', breaker.retry_at));
end;
$$;
comment on function private.describe_persona is 'A persona as its workspace''s members see it: how its breaker stands, and of its secrets only whether there are any.';

create function private.require_persona(workspace_id uuid, persona_id uuid)
    returns void language plpgsql stable set search_path = ''
as $$
begin
    if not exists (select
                     from public.personas p
                    where p.id = require_persona.persona_id
                      and p.workspace_id = require_persona.workspace_id) then
        raise sqlstate 'PT404' using message = 'persona_not_found';
    end if;
end;
$$;
comment on function private.require_persona is 'Refuses a persona that is not the workspace''s.';

create function private.apply_to_persona(persona public.personas, changes jsonb)
    returns public.personas language sql set search_path = ''
as $$
    update public.personas p
       set (name, config, session_policy, history_limit, time_limit_seconds, enabled, turn_policy, breaker_failures,
            breaker_seconds)
         = (select n.name, n.config, n.session_policy, n.history_limit, n.time_limit_seconds, n.enabled, n.turn_policy,
                   n.breaker_failures, n.breaker_seconds
              from jsonb_populate_record(p, changes) n)
     where p.id = persona.id
    returning p.*;
$$;
comment on function private.apply_to_persona is 'Writes the given members of a persona''s settings; the others stay.';

create function public.create_persona(workspace_id uuid, persona jsonb)
    returns jsonb language plpgsql set search_path = ''
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
            raise sqlstate 'PT409' using message = 'id_taken';
        end if;
        return private.describe_persona(made);
    end if;
    made := private.apply_to_persona(made, persona);
    perform private.record_change(workspace, 'persona.created', made.id);
    return private.describe_persona(made);
end;
$$;
comment on function public.create_persona is 'Adds a persona to a workspace; the same id again gives the same persona. For owners and admins.';

create function private.retry_persona(persona_id uuid)
    returns void language sql set search_path = ''
as $$
    update public.persona_breakers b
       set retry_at = clock_timestamp()
     where b.persona_id = retry_persona.persona_id
       and b.state = 'open';
$$;
comment on function private.retry_persona is 'Lets the next message find out whether a persona is back, without waiting: what was wrong with it may just have been set right.';

create function public.change_persona(persona_id uuid, changes jsonb)
    returns jsonb language plpgsql set search_path = ''
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
comment on function public.change_persona is 'Changes the given settings of a persona; its kind stays. For owners and admins.';

create function public.set_persona_secret(persona_id uuid, secret text)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_as_admin('persona', persona_id);
begin
    perform private.replace_secret('secret', persona_id, secret, 0);
    perform private.record_change(workspace, 'persona.secret_set', persona_id);
    perform private.retry_persona(persona_id);
    return jsonb_build_object('set', true);
end;
$$;
comment on function public.set_persona_secret is 'Keeps what a persona sends with its calls, in place of what it sent before. For owners and admins.';

create function public.remove_persona_secret(persona_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_as_admin('persona', persona_id);
begin
    if private.replace_secret('secret', persona_id, null, 0) then
        perform private.record_change(workspace, 'persona.secret_removed', persona_id);
    end if;
    return jsonb_build_object('removed', true);
end;
$$;
comment on function public.remove_persona_secret is 'Takes away what a persona sends with its calls; repeating it changes nothing. For owners and admins.';

create function public.rotate_callback_secret(persona_id uuid, overlap_seconds integer)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_as_admin('persona', persona_id);
    secret    constant text := private.new_secret();
begin
    perform private.replace_secret('callback', persona_id, secret, overlap_seconds);
    perform private.record_change(workspace, 'persona.callback_secret_rotated', persona_id);
    return jsonb_build_object('secret', secret);
end;
$$;
comment on function public.rotate_callback_secret is 'Makes the new secret of a persona''s asynchronous answers and tells it this once; older ones are accepted for so many seconds yet. For owners and admins.';

create function public.remove_callback_secret(persona_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_as_admin('persona', persona_id);
begin
    if private.replace_secret('callback', persona_id, null, 0) then
        perform private.record_change(workspace, 'persona.callback_secret_removed', persona_id);
    end if;
    return jsonb_build_object('removed', true);
end;
$$;
comment on function public.remove_callback_secret is 'Takes away the secret of a persona''s asynchronous answers, and older ones with it; repeating it changes nothing. For owners and admins.';

create function public.list_personas(workspace_id uuid, after uuid default null, page_size integer default 50)
    returns jsonb language plpgsql stable set search_path = ''
as $$
begin
    perform public.read_workspace(workspace_id);
    return (select private.page(jsonb_agg(private.describe_persona(p) order by p.id), page_size, 'id')
              from (select p.*
                      from public.personas p
                     where p.workspace_id = list_personas.workspace_id
                       and (list_personas.after is null or p.id > list_personas.after)
                     order by p.id
                     limit page_size + 1) p);
end;
$$;
comment on function public.list_personas is 'A page of a workspace''s personas, for its members.';

create function public.read_persona(persona_id uuid)
    returns jsonb language plpgsql stable set search_path = ''
as $$
declare
    found_persona public.personas;
begin
    select p.* into found_persona from public.personas p where p.id = read_persona.persona_id;
    if not found then
        raise sqlstate 'PT404' using message = 'persona_not_found';
    end if;
    return private.describe_persona(found_persona);
end;
$$;
comment on function public.read_persona is 'A persona, for its workspace''s members.';

create function public.delete_persona(persona_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_as_owner('persona', persona_id);
begin
    -- Whatever points at a persona keeps it. Some of these keys are checked at the end (for the sake of whole workspaces),
    -- which would be too late to say so.
    begin
        delete from public.personas p where p.id = delete_persona.persona_id and p.workspace_id = workspace;
        if not found then
            raise sqlstate 'PT404' using message = 'persona_not_found';
        end if;
        set constraints all immediate;
    exception when foreign_key_violation then
        raise sqlstate 'PT409' using message = 'persona_in_use';
    end;
    perform private.record_change(workspace, 'persona.deleted', persona_id);
    return jsonb_build_object('removed', true);
end;
$$;
comment on function public.delete_persona is 'Deletes a persona that no space or session template names and that never had a conversation, and its secrets. For owners.';

grant execute on function
    private.describe_persona
    to authenticated, service_role, switchboard;

grant execute on function
    private.require_persona, private.apply_to_persona, public.create_persona, private.retry_persona,
    public.change_persona, public.set_persona_secret, public.remove_persona_secret, public.rotate_callback_secret,
    public.remove_callback_secret, public.delete_persona
    to service_role, switchboard;

grant execute on function
    public.list_personas, public.read_persona
    to authenticated, service_role;
