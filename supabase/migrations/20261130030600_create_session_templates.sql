-- Generated from supabase/schemas/36_session_templates.sql.
set lock_timeout = '5s';
set statement_timeout = '60s';
set check_function_bodies = off;

-- Session templates: presets with which members start sessions.

create table public.session_templates (
    id             uuid        not null default private.uuid7(),
    workspace_id   uuid        not null,
    name           text        not null,
    persona_id     uuid,
    workflow       text,
    workflow_step  text,
    workflow_state jsonb       not null default '{}',
    first_messages text[]      not null default '{}',
    metadata       jsonb       not null default '{}',
    created_at     timestamptz not null default now(),
    constraint session_templates_pkey                  primary key (id),
    constraint session_templates_name_key              unique (workspace_id, name),
    constraint session_templates_workspace_id_fkey     foreign key (workspace_id) references public.workspaces (id) on delete cascade,
    constraint session_templates_persona_id_fkey       foreign key (workspace_id, persona_id) references public.personas (workspace_id, id) deferrable initially deferred,
    constraint session_templates_name                  check (length(name) between 1 and 200),
    constraint session_templates_workflow              check ((workflow is null) = (workflow_step is null)),
    constraint session_templates_workflow_state_object check (jsonb_typeof(workflow_state) = 'object'),
    constraint session_templates_first_messages        check (cardinality(first_messages) <= 10
        and array_position(first_messages, null) is null
        and array_position(first_messages, '') is null),
    constraint session_templates_metadata_object       check (jsonb_typeof(metadata) = 'object')
);
comment on table public.session_templates is 'A named preset for new sessions.';
comment on column public.session_templates.persona_id is 'The persona of the sessions; null: named when a session is started.';
comment on column public.session_templates.workflow_step is 'The step in which a session begins.';
comment on column public.session_templates.first_messages is 'The persona''s messages when the session opens, in order.';
comment on column public.session_templates.metadata is 'Stored with each session as its context; the context given at its start takes precedence.';
alter table public.session_templates enable row level security;
create index session_templates_persona_id_idx on public.session_templates (persona_id);

create function private.require_template(template text)
    returns public.session_templates language plpgsql stable set search_path = ''
as $$
declare
    found_template public.session_templates;
begin
    -- A template with this id takes precedence over one with this name.
    select t.* into found_template
      from public.session_templates t
     where t.workspace_id = private.entered_workspace()
       and (t.name = template or t.id::text = lower(template))
     order by t.id::text = lower(template) desc
     limit 1;
    if not found then
        raise sqlstate 'PT404' using message = 'template_not_found';
    end if;
    return found_template;
end;
$$;
comment on function private.require_template is 'The session template of the entered workspace with this id or name.';

create function private.say_first_messages(session public.sessions, template public.session_templates)
    returns public.sessions language plpgsql set search_path = ''
as $$
declare
    after public.sessions;
begin
    with added as (
        -- A microsecond apart, so that messages ordered by time keep this order.
        insert into public.messages (workspace_id, conversation_id, session_id, role, persona_id, text, created_at, client_message_id)
        select session.workspace_id, session.conversation_id, session.id, 'persona', session.persona_id, said.text,
               opened.at + said.place * interval '1 microsecond', 'template:' || template.id || ':' || said.place
          from (select clock_timestamp() as at) opened
         cross join unnest(template.first_messages) with ordinality as said (text, place)
        on conflict (conversation_id, client_message_id, session_id) where client_message_id is not null do nothing
        returning 1
    )
    update public.sessions s
       set message_count = s.message_count + (select count(*) from added)
     where s.id = session.id
    returning s.* into after;
    if after.channel <> 'web' then
        perform private.queue_sending(m.id, m.conversation_id)
           from public.messages m
          where m.session_id = after.id
            and m.client_message_id like 'template:' || template.id || ':%'
          order by m.created_at;
    end if;
    return after;
end;
$$;
comment on function private.say_first_messages is 'Says a template''s messages as the persona of a locked session, once in a session; returns the session.';

create function private.apply_template(session public.sessions, template public.session_templates)
    returns public.sessions language plpgsql set search_path = ''
as $$
declare
    begun public.sessions := session;
begin
    if template.workflow is not null then
        insert into public.workflow_steps (workspace_id, session_id, workflow, from_step, to_step, actor_id)
        values (session.workspace_id, session.id, template.workflow, null, template.workflow_step, private.calling_actor());
    end if;
    update public.sessions s
       set workflow = template.workflow, workflow_step = template.workflow_step,
           workflow_state = case when template.workflow is null then s.workflow_state else template.workflow_state end
     where s.id = session.id
    returning s.* into begun;
    return private.say_first_messages(begun, template);
end;
$$;
comment on function private.apply_template is 'Applies a template to a session that was just opened: the workflow''s first step, and the persona''s first messages.';

create function public.remove_session_template(template_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_to_manage('template', template_id, 'admin');
begin
    delete from public.session_templates t where t.id = template_id and t.workspace_id = workspace;
    if found then
        perform private.record_change(workspace, 'template.removed', template_id);
    end if;
    return jsonb_build_object('removed', true);
end;
$$;
comment on function public.remove_session_template is 'Removes a session template; its sessions stay. For owners and admins.';

grant execute on function
    private.require_template, private.say_first_messages, private.apply_template
    to switchboard;

grant execute on function
    public.remove_session_template
    to service_role, switchboard;
