-- Sessions that begin alike: a preset of who answers, where the workflow begins, what the persona says first and what is
-- kept with the session, under a name that a member starts it by.

set lock_timeout = '5s';
set statement_timeout = '60s';

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
    created_at     timestamptz not null default pg_catalog.now(),
    constraint session_templates_pkey                  primary key (id),
    constraint session_templates_name_key              unique (workspace_id, name),
    constraint session_templates_workspace_id_fkey     foreign key (workspace_id) references public.workspaces (id) on delete cascade,
    constraint session_templates_persona_id_fkey       foreign key (workspace_id, persona_id) references public.personas (workspace_id, id) deferrable initially deferred,
    constraint session_templates_name                  check (pg_catalog.length(name) between 1 and 200),
    constraint session_templates_workflow              check ((workflow is null) = (workflow_step is null)),
    constraint session_templates_workflow_state_object check (pg_catalog.jsonb_typeof(workflow_state) = 'object'),
    constraint session_templates_first_messages        check (pg_catalog.cardinality(first_messages) <= 10
                                                              and pg_catalog.array_position(first_messages, null) is null
                                                              and pg_catalog.array_position(first_messages, '') is null),
    constraint session_templates_metadata_object       check (pg_catalog.jsonb_typeof(metadata) = 'object')
);
comment on table  public.session_templates                is 'A named preset that sessions are started by.';
comment on column public.session_templates.persona_id     is 'Who answers; null: whoever starts one says.';
comment on column public.session_templates.workflow_step  is 'The step that a session begins with.';
comment on column public.session_templates.first_messages is 'What the persona says when the session opens, in this order.';
comment on column public.session_templates.metadata       is 'Kept with each session as its context, beneath what whoever starts it gives.';
create index session_templates_persona_id_idx on public.session_templates (persona_id);

alter table public.session_templates enable row level security;
grant select                         on public.session_templates to authenticated;
grant select, insert, update, delete on public.session_templates to switchboard;
grant all                            on public.session_templates to service_role;

-- Steps ---------------------------------------------------------------------------------------------------------------

create function private.workspace_of_template(template_id uuid)
    returns uuid
    language sql
    stable
    security definer
    set search_path = ''
as $$
    select t.workspace_id from public.session_templates t where t.id = workspace_of_template.template_id;
$$;
comment on function private.workspace_of_template(uuid) is 'The workspace of a session template that somebody wants to change; null for any other id.';

create function private.enter_template(template_id uuid)
    returns uuid
    language plpgsql
    volatile
    set search_path = ''
as $$
begin
    return private.enter_as_admin('workspace', private.workspace_of_template(template_id));
exception when sqlstate 'PT404' then
    raise sqlstate 'PT404' using message = 'template_not_found', detail = 'There is no such session template.';
end;
$$;
comment on function private.enter_template(uuid) is
    'Enters the workspace of a session template as one of its owners or admins, and gives it; not found for whoever is no member.';

create function private.require_first_step(workspace_id uuid, workflow text, step text)
    returns void
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    if workflow is not null
       and not exists (select
                         from public.workflow_transitions t
                        where (t.workspace_id is null or t.workspace_id = require_first_step.workspace_id)
                          and t.workflow = require_first_step.workflow
                          and t.from_step is null
                          and t.to_step = require_first_step.step) then
        raise sqlstate 'PT409' using message = 'step_not_allowed', detail = 'The workflow does not begin with this step.';
    end if;
end;
$$;
comment on function private.require_first_step(uuid, text, text) is 'Refuses a step with which a workflow of the workspace cannot begin; null is no workflow.';

create function private.apply_to_template(template public.session_templates, changes jsonb)
    returns public.session_templates
    language plpgsql
    volatile
    set search_path = ''
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
              from pg_catalog.jsonb_populate_record(t, changes) n)
     where t.id = template.id
    returning t.* into made;
    if changes ?| '{workflow,workflow_step}' then
        perform private.require_first_step(made.workspace_id, made.workflow, made.workflow_step);
    end if;
    return made;
exception
    when unique_violation then
        raise sqlstate 'PT409' using message = 'name_taken', detail = 'Another session template has this name.';
    when check_violation then
        raise sqlstate 'PT422' using message = 'invalid_body', detail = 'A workflow and its first step come together.';
end;
$$;
comment on function private.apply_to_template(public.session_templates, jsonb) is
    'Writes the given members of a session template; the others stay.';

create function private.require_template(template text)
    returns public.session_templates
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    found_template public.session_templates;
begin
    -- One whose id it is before one whose name it is.
    select t.* into found_template
      from public.session_templates t
     where t.workspace_id = private.entered_workspace()
       and (t.name = template or t.id::text = pg_catalog.lower(template))
     order by t.id::text = pg_catalog.lower(template) desc
     limit 1;
    if not found then
        raise sqlstate 'PT404' using message = 'template_not_found', detail = 'There is no such session template.';
    end if;
    return found_template;
end;
$$;
comment on function private.require_template(text) is 'The session template of the entered workspace with this id or name.';

create function private.begin_by_template(session public.sessions, template public.session_templates)
    returns public.sessions
    language plpgsql
    volatile
    set search_path = ''
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
      from (select pg_catalog.clock_timestamp() as at) opened
     cross join pg_catalog.unnest(template.first_messages) with ordinality as said (text, place);
    update public.sessions s
       set workflow = template.workflow, workflow_step = template.workflow_step,
           workflow_state = case when template.workflow is null then s.workflow_state else template.workflow_state end,
           message_count = s.message_count + pg_catalog.cardinality(template.first_messages)
     where s.id = session.id
    returning s.* into begun;
    return begun;
end;
$$;
comment on function private.begin_by_template(public.sessions, public.session_templates) is
    'Makes a session that was just opened what its template says: the workflow''s first step, and what the persona says first.';

grant execute on function
    private.workspace_of_template(uuid), private.enter_template(uuid), private.require_first_step(uuid, text, text),
    private.apply_to_template(public.session_templates, jsonb)
    to switchboard, service_role;
grant execute on function private.require_template(text), private.begin_by_template(public.sessions, public.session_templates) to switchboard;

-- Managing ------------------------------------------------------------------------------------------------------------

create function public.create_session_template(workspace_id uuid, template jsonb)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
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
            return pg_catalog.to_jsonb(made);
        elsif exists (select
                        from public.session_templates t
                       where t.workspace_id = workspace
                         and t.name = template ->> 'name') then
            raise sqlstate 'PT409' using message = 'name_taken', detail = 'Another session template has this name.';
        end if;
        raise sqlstate 'PT409' using message = 'id_taken', detail = 'Something else has this id.';
    end if;
    made := private.apply_to_template(made, template);
    perform private.record_change(workspace, 'template.created', made.id);
    return pg_catalog.to_jsonb(made);
end;
$$;
comment on function public.create_session_template(uuid, jsonb) is
    'Adds a session template to a workspace; the same id again gives the same one. For owners and admins.';

create function public.change_session_template(template_id uuid, changes jsonb)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_template(template_id);
    before public.session_templates;
    made   public.session_templates;
begin
    select t.* into before from public.session_templates t where t.id = template_id and t.workspace_id = workspace for no key update;
    if not found then
        -- Somebody removed it in this moment.
        raise sqlstate 'PT404' using message = 'template_not_found', detail = 'There is no such session template.';
    end if;
    made := private.apply_to_template(before, changes);
    if made is distinct from before then
        perform private.record_change(workspace, 'template.changed', template_id);
    end if;
    return pg_catalog.to_jsonb(made);
end;
$$;
comment on function public.change_session_template(uuid, jsonb) is
    'Changes the given members of a session template; sessions that were started by it stay as they are. For owners and admins.';

create function public.remove_session_template(template_id uuid)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_template(template_id);
begin
    delete from public.session_templates t where t.id = template_id and t.workspace_id = workspace;
    if found then
        perform private.record_change(workspace, 'template.removed', template_id);
    end if;
    return pg_catalog.jsonb_build_object('removed', true);
end;
$$;
comment on function public.remove_session_template(uuid) is 'Removes a session template; sessions that were started by it stay. For owners and admins.';

grant execute on function
    public.create_session_template(uuid, jsonb), public.change_session_template(uuid, jsonb), public.remove_session_template(uuid)
    to switchboard, service_role;

create function public.list_session_templates(workspace_id uuid, after uuid default null, page_size integer default 50)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    perform public.read_workspace(workspace_id);
    return (select private.page(pg_catalog.jsonb_agg(pg_catalog.to_jsonb(t) order by t.id), page_size, 'id')
              from (select t.*
                      from public.session_templates t
                     where t.workspace_id = list_session_templates.workspace_id
                       and (list_session_templates.after is null or t.id > list_session_templates.after)
                     order by t.id
                     limit page_size + 1) t);
end;
$$;
comment on function public.list_session_templates(uuid, uuid, integer) is 'A page of a workspace''s session templates, for its members.';

create function public.read_session_template(template_id uuid)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    found_template public.session_templates;
begin
    select t.* into found_template from public.session_templates t where t.id = read_session_template.template_id;
    if not found then
        raise sqlstate 'PT404' using message = 'template_not_found', detail = 'There is no such session template.';
    end if;
    return pg_catalog.to_jsonb(found_template);
end;
$$;
comment on function public.read_session_template(uuid) is 'A session template, for its workspace''s members.';

grant execute on function public.list_session_templates(uuid, uuid, integer), public.read_session_template(uuid) to authenticated, service_role;

-- Starting by one -----------------------------------------------------------------------------------------------------

-- The one that takes its place takes whatever it took.
-- squawk-ignore ban-drop-function
drop function public.start_session(uuid, uuid, uuid, text, jsonb, jsonb);

create function public.start_session(
    contact_id uuid  default null,
    space_id   uuid  default null,
    persona_id uuid  default null,
    thread_key text  default null,
    context    jsonb default '{}',
    client     jsonb default '{}',
    template   text  default null
)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    caller       constant jsonb := private.claims() -> 'caller';
    facts        jsonb := client;
    role         public.member_role;
    workspace    public.workspaces;
    space        public.spaces;
    conversation public.conversations;
    session      public.sessions;
    preset       public.session_templates;
    is_new       boolean;
    limits       jsonb;
    refusal      text;
begin
    if coalesce(caller ->> 'kind', '') not in ('contact', 'user') then
        raise sqlstate 'PT403' using message = 'forbidden', detail = 'Sessions are started by contacts and users.';
    end if;
    if contact_id is not null and caller ->> 'kind' = 'user' then
        role := private.enter_beside_contact(contact_id);
    else
        if space_id is not null then
            perform private.enter_space(space_id);
        else
            perform private.enter();
        end if;
        if contact_id <> (caller ->> 'contact_id')::uuid then
            raise sqlstate 'PT404' using message = 'contact_not_found', detail = 'There is no such contact.';
        end if;
    end if;
    if space_id is not null then
        select s.* into space from public.spaces s where s.id = start_session.space_id and s.enabled;
        if not found then
            raise sqlstate 'PT404' using message = 'space_not_found', detail = 'There is no such space.';
        end if;
    end if;
    if template is not null then
        -- Whether there is such a one is for members.
        if role is null and not private.is_member(private.calling_user()) then
            raise sqlstate 'PT403' using message = 'forbidden', detail = 'Only members start a session by a template.';
        end if;
        preset := private.require_template(template);
        facts  := facts || pg_catalog.jsonb_build_object('template', preset.name);
    end if;
    if coalesce(preset.metadata, '{}') || context <> '{}' then
        facts := facts || pg_catalog.jsonb_build_object('context', coalesce(preset.metadata, '{}') || context);
    end if;

    begin
        if role is not null then
            conversation := private.open_for_contact(contact_id, space, coalesce(persona_id, preset.persona_id), thread_key);
        else
            conversation := private.open_conversation(space, null, null, null, thread_key, null, client);
            if not exists (select
                             from public.personas p
                            where p.id = conversation.persona_id
                              and p.enabled
                              and p.id = coalesce(start_session.persona_id, preset.persona_id, p.id)) then
                raise sqlstate 'PT404' using message = 'persona_not_found', detail = 'There is no such persona here.';
            end if;
        end if;
        -- Locked, so that one which ends in this moment is not taken for the one that comes after it.
        perform
           from public.sessions s
          where s.conversation_id = conversation.id
            and s.status in ('active', 'paused')
            for no key update;
        is_new  := not found;
        session := private.find_or_create_session(conversation, facts);
        if role = 'agent' and is_new then
            -- Whoever opens it looks after it: an agent sees no other.
            update public.sessions s set assigned_user_id = private.calling_actor() where s.id = session.id;
        elsif role = 'agent' and not private.works_on_session(session) then
            raise sqlstate 'PT403' using message = 'forbidden', detail = 'The contact''s session is not assigned to you.';
        end if;
        if is_new then
            if preset.id is not null then
                session := private.begin_by_template(session, preset);
            end if;
            perform private.record_audit('session.started', session.id, private.calling_actor(), null);
            if role is null then
                -- As a message would, and a new conversation of a user as an arrival.
                if space.id is null then
                    select s.* into space from public.spaces s where s.id = conversation.space_id;
                end if;
                select w.* into strict workspace from public.workspaces w where w.id = conversation.workspace_id;
                limits := private.message_limits(workspace, space, client ->> 'address');
                if space.id is null then
                    limits := limits - 'messages_by_space';
                end if;
                if caller ->> 'kind' = 'user' and conversation.contact_id is not null and conversation.created_at = pg_catalog.now() then
                    limits := private.arrival_limits(space, client ->> 'address') || limits;
                end if;
                perform private.take_limits(limits);
            end if;
        end if;
    exception when sqlstate 'SB001' then
        get stacked diagnostics refusal = pg_exception_detail;
        perform private.count_refusal(refusal::jsonb);
        return private.refuse(refusal::jsonb - '{subject,object_id}'::text[]);
    end;
    return pg_catalog.jsonb_build_object(
        'session_id', session.id, 'conversation_id', session.conversation_id, 'contact_id', session.contact_id,
        'user_id', session.user_id, 'persona_id', session.persona_id, 'status', session.status,
        'created_at', session.created_at, 'created', is_new);
end;
$$;
comment on function public.start_session(uuid, uuid, uuid, text, jsonb, jsonb, text) is
    'The live session of a conversation, or a new one: a member''s for a contact, a contact''s own, a user''s own at a space; a new one by a template, where a member names one. {session_id, conversation_id, status, created, …}';

grant execute on function public.start_session(uuid, uuid, uuid, text, jsonb, jsonb, text) to switchboard;

-- What starts a session and moves it on in one takes a template as well.
-- squawk-ignore ban-drop-function
drop function public.create_or_update_chat_session(jsonb, uuid, uuid, uuid, text, jsonb, jsonb);

create function public.create_or_update_chat_session(
    changes    jsonb,
    contact_id uuid  default null,
    space_id   uuid  default null,
    persona_id uuid  default null,
    thread_key text  default null,
    context    jsonb default '{}',
    client     jsonb default '{}',
    template   text  default null
)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    started jsonb;
    refusal text;
begin
    started := public.start_session(
        contact_id => contact_id, space_id => space_id, persona_id => persona_id, thread_key => thread_key,
        context => context, client => client, template => template);
    if not started ? 'created' then
        return started;
    end if;
    perform private.enter_work((started ->> 'session_id')::uuid);
    return private.change_work((started ->> 'session_id')::uuid, changes)
        || pg_catalog.jsonb_build_object('created', started -> 'created');
exception when sqlstate 'SB001' then
    get stacked diagnostics refusal = pg_exception_detail;
    -- A session that was started here is undone with all else, so its id is nobody's.
    return private.refuse(refusal::jsonb - case when (started ->> 'created')::boolean then 'session_id' else '' end);
end;
$$;
comment on function public.create_or_update_chat_session(jsonb, uuid, uuid, uuid, text, jsonb, jsonb, text) is
    'A conversation''s live session, or a new one, as start_session, with changes to its work; the session''s work, changed, and created. Nothing is started where the changes are refused.';

grant execute on function public.create_or_update_chat_session(jsonb, uuid, uuid, uuid, text, jsonb, jsonb, text) to switchboard;
