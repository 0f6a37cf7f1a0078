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
comment on table public.session_templates is 'A named preset that sessions are started by.';
comment on column public.session_templates.persona_id is 'Who answers; null: whoever starts one says.';
comment on column public.session_templates.workflow_step is 'The step that a session begins with.';
comment on column public.session_templates.first_messages is 'What the persona says when the session opens, in this order.';
comment on column public.session_templates.metadata is 'Kept with each session as its context, beneath what whoever starts it gives.';
alter table public.session_templates enable row level security;
create index session_templates_persona_id_idx on public.session_templates (persona_id);

create function private.workspace_of_template(template_id uuid)
    returns uuid language sql stable security definer set search_path = ''
as $$
    select t.workspace_id from public.session_templates t where t.id = workspace_of_template.template_id;
$$;
comment on function private.workspace_of_template is 'The workspace of a session template that somebody wants to change; null for any other id.';

create function private.enter_template(template_id uuid)
    returns uuid language plpgsql set search_path = ''
as $$
begin
    return private.enter_as_admin('workspace', private.workspace_of_template(template_id));
exception when sqlstate 'PT404' then
    raise sqlstate 'PT404' using message = 'template_not_found';
end;
$$;
comment on function private.enter_template is 'Enters the workspace of a session template as one of its owners or admins, and gives it; not found for whoever is no member.';

create function private.require_first_step(workspace_id uuid, workflow text, step text)
    returns void language plpgsql stable set search_path = ''
as $$
begin
    if workflow is not null
       and not exists (select
                         from public.workflow_transitions t
                        where (t.workspace_id is null or t.workspace_id = require_first_step.workspace_id)
                          and t.workflow = require_first_step.workflow
                          and t.from_step is null
                          and t.to_step = require_first_step.step) then
        raise sqlstate 'PT409' using message = 'step_not_allowed', detail = 'not_a_first_step';
    end if;
end;
$$;
comment on function private.require_first_step is 'Refuses a step with which a workflow of the workspace cannot begin; null is no workflow.';

create function private.apply_to_template(template public.session_templates, changes jsonb)
    returns public.session_templates language plpgsql set search_path = ''
as $$
declare
    made public.session_templates;
begin
    -- What is set stands in its workspace; what was set before may have gone since.
    if changes ->> 'persona_id' is not null then
        perform private.require_persona(template.workspace_id, (changes ->> 'persona_id')::uuid);
    end if;
    update public.session_templates t
       set (name, persona_id, workflow, workflow_step, workflow_state, first_messages, metadata)
         = (select n.name, n.persona_id, n.workflow, n.workflow_step, n.workflow_state, n.first_messages, n.metadata
              from jsonb_populate_record(t, changes) n)
     where t.id = template.id
    returning t.* into made;
    if changes ?| '{workflow,workflow_step}' then
        perform private.require_first_step(made.workspace_id, made.workflow, made.workflow_step);
    end if;
    return made;
exception
    when unique_violation then
        raise sqlstate 'PT409' using message = 'name_taken';
    when check_violation then
        raise sqlstate 'PT422' using message = 'invalid_body', detail = 'first_step_without_workflow';
end;
$$;
comment on function private.apply_to_template is 'Writes the given members of a session template; the others stay.';

create function private.require_template(template text)
    returns public.session_templates language plpgsql stable set search_path = ''
as $$
declare
    found_template public.session_templates;
begin
    -- One whose id it is before one whose name it is.
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

create function private.begin_by_template(session public.sessions, template public.session_templates)
    returns public.sessions language plpgsql set search_path = ''
as $$
declare
    begun public.sessions := session;
begin
    if template.workflow is not null then
        insert into public.workflow_steps (workspace_id, session_id, workflow, from_step, to_step, actor_id)
        values (session.workspace_id, session.id, template.workflow, null, template.workflow_step, private.calling_actor());
    end if;
    -- A microsecond apart: they stay in this order wherever messages are read in the order of their times.
    insert into public.messages (workspace_id, conversation_id, session_id, role, persona_id, text, created_at)
    select session.workspace_id, session.conversation_id, session.id, 'persona', session.persona_id, said.text,
           opened.at + said.place * interval '1 microsecond'
      from (select clock_timestamp() as at) opened
     cross join unnest(template.first_messages) with ordinality as said (text, place);
    update public.sessions s
       set workflow = template.workflow, workflow_step = template.workflow_step,
           workflow_state = case when template.workflow is null then s.workflow_state else template.workflow_state end,
           message_count = s.message_count + cardinality(template.first_messages)
     where s.id = session.id
    returning s.* into begun;
    return begun;
end;
$$;
comment on function private.begin_by_template is 'Makes a session that was just opened what its template says: the workflow''s first step, and what the persona says first.';

create function public.create_session_template(workspace_id uuid, template jsonb)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_as_admin('workspace', workspace_id);
    wanted    constant uuid := coalesce((template ->> 'id')::uuid, private.uuid7());
    made public.session_templates;
begin
    insert into public.session_templates (id, workspace_id, name)
    values (wanted, workspace, template ->> 'name')
    on conflict do nothing
    returning * into made;
    if not found then
        select t.* into made from public.session_templates t where t.id = wanted and t.workspace_id = workspace;
        if found then
            return to_jsonb(made);
        elsif exists (select
                        from public.session_templates t
                       where t.workspace_id = workspace
                         and t.name = template ->> 'name') then
            raise sqlstate 'PT409' using message = 'name_taken';
        end if;
        raise sqlstate 'PT409' using message = 'id_taken';
    end if;
    made := private.apply_to_template(made, template);
    perform private.record_change(workspace, 'template.created', made.id);
    return to_jsonb(made);
end;
$$;
comment on function public.create_session_template is 'Adds a session template to a workspace; the same id again gives the same one. For owners and admins.';

create function public.change_session_template(template_id uuid, changes jsonb)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_template(template_id);
    before public.session_templates;
    made   public.session_templates;
begin
    select t.* into before from public.session_templates t where t.id = template_id and t.workspace_id = workspace for no key update;
    if not found then
        -- Somebody removed it in this moment.
        raise sqlstate 'PT404' using message = 'template_not_found';
    end if;
    made := private.apply_to_template(before, changes);
    if made is distinct from before then
        perform private.record_change(workspace, 'template.changed', template_id);
    end if;
    return to_jsonb(made);
end;
$$;
comment on function public.change_session_template is 'Changes the given members of a session template; sessions that were started by it stay as they are. For owners and admins.';

create function public.remove_session_template(template_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_template(template_id);
begin
    delete from public.session_templates t where t.id = template_id and t.workspace_id = workspace;
    if found then
        perform private.record_change(workspace, 'template.removed', template_id);
    end if;
    return jsonb_build_object('removed', true);
end;
$$;
comment on function public.remove_session_template is 'Removes a session template; sessions that were started by it stay. For owners and admins.';

create function public.list_session_templates(workspace_id uuid, after uuid default null, page_size integer default 50)
    returns jsonb language plpgsql stable set search_path = ''
as $$
begin
    perform public.read_workspace(workspace_id);
    return (select private.page(jsonb_agg(to_jsonb(t) order by t.id), page_size, 'id')
              from (select t.*
                      from public.session_templates t
                     where t.workspace_id = list_session_templates.workspace_id
                       and (list_session_templates.after is null or t.id > list_session_templates.after)
                     order by t.id
                     limit page_size + 1) t);
end;
$$;
comment on function public.list_session_templates is 'A page of a workspace''s session templates, for its members.';

create function public.read_session_template(template_id uuid)
    returns jsonb language plpgsql stable set search_path = ''
as $$
declare
    found_template public.session_templates;
begin
    select t.* into found_template from public.session_templates t where t.id = read_session_template.template_id;
    if not found then
        raise sqlstate 'PT404' using message = 'template_not_found';
    end if;
    return to_jsonb(found_template);
end;
$$;
comment on function public.read_session_template is 'A session template, for its workspace''s members.';

grant execute on function
    private.workspace_of_template, private.enter_template, private.require_first_step, private.apply_to_template,
    public.create_session_template, public.change_session_template, public.remove_session_template
    to service_role, switchboard;

grant execute on function
    private.require_template, private.begin_by_template
    to switchboard;

grant execute on function
    public.list_session_templates, public.read_session_template
    to authenticated, service_role;
