-- Generated from supabase/schemas/12_personas.sql.
set lock_timeout = '5s';
set statement_timeout = '60s';
set check_function_bodies = off;

-- Personas: the responders of a workspace, and how they are managed.

create type public.session_policy as enum ('per_conversation', 'per_message');
comment on type public.session_policy is 'per_conversation: a session lives through many turns; per_message: each message is a session and ends with its turn.';

create type public.turn_policy as enum ('refuse', 'interrupt');
comment on type public.turn_policy is 'What a message does while the one before is being answered. refuse: it is told to wait; interrupt: it cancels that answer.';

create type public.memory_model as enum ('per_contact', 'shared');
comment on type public.memory_model is 'What the sessions of a proven contact recall. per_contact: the contact''s own memories; shared: also what the workspace''s members gave the persona. Never another contact''s.';

create table public.personas (
    id                  uuid                  not null default private.uuid7(),
    workspace_id        uuid                  not null,
    kind                text                  not null,
    name                text                  not null,
    config              jsonb                 not null default '{}',
    secret_id           uuid,
    callback_secret_id  uuid,
    session_policy      public.session_policy not null default 'per_conversation',
    history_limit       integer               not null default 20,
    time_limit_seconds  integer               not null default 120,
    enabled             boolean               not null default true,
    created_at          timestamptz           not null default now(),
    turn_policy         public.turn_policy    not null default 'refuse',
    breaker_failures    integer               not null default 5,
    breaker_seconds     integer               not null default 30,
    picture             text,
    fallback_persona_id uuid,
    collect_seconds     integer               not null default 0,
    memory_model        public.memory_model   not null default 'per_contact',
    recall_limit        integer               not null default 0,
    remember_turns      boolean               not null default false,
    constraint personas_pkey               primary key (id),
    constraint personas_workspace_key      unique (workspace_id, id),
    constraint personas_workspace_id_fkey  foreign key (workspace_id) references public.workspaces (id) on delete cascade,
    constraint personas_fallback_persona_id_fkey foreign key (workspace_id, fallback_persona_id) references public.personas (workspace_id, id) on delete set null (fallback_persona_id),
    constraint personas_kind_form          check (kind ~ '^[a-z][a-z0-9_]{0,31}$'),
    constraint personas_name_length        check (length(name) between 1 and 200),
    constraint personas_config_object      check (jsonb_typeof(config) = 'object'),
    constraint personas_history_limit      check (history_limit between 0 and 200),
    constraint personas_time_limit_seconds check (time_limit_seconds between 1 and 840),
    -- A workspace has a handful of personas; checking them all takes no time.
    constraint personas_breaker            check (breaker_failures between 0 and 1000 and breaker_seconds between 1 and 3600),
    -- About 36 kB of image: it is sent with every look of a space.
    constraint personas_picture            check (picture ~ '^data:image/(png|jpeg|webp);base64,' and length(picture) <= 50000),
    constraint personas_fallback           check (fallback_persona_id <> id),
    constraint personas_recall_limit       check (recall_limit between 0 and 50),
    -- A session of its own for each message leaves nothing to collect.
    constraint personas_collect_seconds    check (collect_seconds = 0 or (collect_seconds between 1 and 30 and session_policy = 'per_conversation'))
);
comment on table public.personas is 'Who answers: an n8n webhook, a language model, or the built-in demo.';
comment on column public.personas.kind is 'The module of lib/personas that answers.';
comment on column public.personas.config is 'The settings of its kind. Owners and admins only: addresses and headers often hold keys.';
comment on column public.personas.secret_id is 'Vault secret sent with outgoing calls.';
comment on column public.personas.callback_secret_id is 'Vault secret that asynchronous answers must carry.';
comment on column public.personas.history_limit is 'How many earlier messages the persona is given.';
comment on column public.personas.time_limit_seconds is 'How long one turn may take; below the function''s own limit (900 s on AWS Lambda).';
comment on column public.personas.turn_policy is 'What a message does while the one before is being answered.';
comment on column public.personas.breaker_failures is 'After so many failures in a row the persona is left alone; 0: never.';
comment on column public.personas.breaker_seconds is 'For so long; then one turn finds out whether it is back.';
comment on column public.personas.picture is 'What the embedded chat shows beside its name: a small image as a data URL. Public, as the name is.';
comment on column public.personas.fallback_persona_id is 'The persona that answers a turn if this one fails before its first text, or is not called because its breaker is open. Its own fallback is not called.';
comment on column public.personas.collect_seconds is 'How long a turn waits for further messages before the persona is called with all of them; 0: it is called at once.';
comment on column public.personas.memory_model is 'What the sessions of a proven contact recall.';
comment on column public.personas.recall_limit is 'How many memories a turn recalls for the persona; 0: memory is off, and a turn makes no call for it.';
comment on column public.personas.remember_turns is 'Whether each turn is remembered, unchanged, as memories of the kind turn.';
alter table public.personas enable row level security;
create index personas_fallback_persona_id_idx on public.personas (fallback_persona_id) where fallback_persona_id is not null;

create function private.persona_config(persona_id uuid)
    returns jsonb language sql stable security definer set search_path = ''
as $$
    select p.config
      from public.personas p
     where p.id = persona_config.persona_id
       and private.reads_connections(p.workspace_id);
$$;
comment on function private.persona_config is 'The config of a persona, for owners and admins of its workspace; null for other callers.';

create function private.retry_persona(persona_id uuid)
    returns void language sql set search_path = ''
as $$
    update public.persona_breakers b
       set retry_at = clock_timestamp()
     where b.persona_id = retry_persona.persona_id
       and b.state = 'open';
$$;
comment on function private.retry_persona is 'Lets the next message probe a persona at once: a change may have fixed it.';

create function public.delete_persona(persona_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_to_manage('persona', persona_id, 'owner');
begin
    -- Spaces, templates and conversations keep the personas that they refer to. Some of these foreign keys are deferred (for
    -- the deletion of whole workspaces): checked here, a violation still becomes a refusal.
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
comment on function public.delete_persona is 'Deletes a persona and its secrets, unless a space, a session template or a conversation refers to it; for owners.';

grant execute on function
    private.retry_persona, public.delete_persona
    to service_role, switchboard;

grant execute on function
    private.persona_config
    to authenticated, service_role, switchboard;
