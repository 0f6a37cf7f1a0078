-- What a member does with a session's workflow, request, quotes and proposal: each one function, each one transaction.

set lock_timeout = '5s';
set statement_timeout = '60s';

create function private.enter_work(session_id uuid)
    returns void
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    session public.sessions;
begin
    -- A token for managing a workspace is for no session.
    if private.claims() -> 'scope' ? 'management' then
        raise sqlstate 'PT404' using message = 'session_not_found', detail = 'There is no such session.';
    end if;
    perform private.enter_session(session_id);
    select s.* into strict session from public.sessions s where s.id = enter_work.session_id;
    if not private.works_on_session(session) then
        raise sqlstate 'PT403' using message = 'forbidden', detail = 'Only members who work on the session do this.';
    end if;
end;
$$;
comment on function private.enter_work(uuid) is
    'Enters the workspace of a session that the caller works on as a member; 403 for whoever else may see it, 404 for everybody who may not.';

create function private.lock_session(session_id uuid)
    returns public.sessions
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    session public.sessions;
begin
    select s.* into session from public.sessions s where s.id = lock_session.session_id for no key update;
    if not found then
        raise sqlstate 'PT404' using message = 'session_not_found', detail = 'There is no such session.';
    end if;
    return session;
end;
$$;
comment on function private.lock_session(uuid) is 'A session of the entered workspace, locked; 404 for any other.';

create function private.change_work(session_id uuid, changes jsonb)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    before constant public.sessions := private.lock_session(session_id);
    after  public.sessions          := before;
    was    constant jsonb           := private.describe_work(before);
begin
    if changes ?| '{workflow,step}' then
        after := private.take_step(after, changes ->> 'workflow', changes ->> 'step');
    end if;
    if changes -> 'workflow_state' <> 'null' then
        after := private.keep_workflow_state(after, changes -> 'workflow_state');
    end if;
    if changes -> 'trip' <> 'null' then
        after := private.learn_of_trip(after, changes -> 'trip');
    end if;
    if (changes ->> 'activity')::boolean then
        after := private.note_activity(after);
    end if;
    if changes -> 'proposal' <> 'null' then
        after := private.note_proposal(after, changes -> 'proposal');
    end if;
    return private.describe_work(after) || pg_catalog.jsonb_build_object('changed', private.describe_work(after) <> was);
end;
$$;
comment on function private.change_work(uuid, jsonb) is
    'Changes what is named of a session''s work in the entered workspace: {workflow, step, workflow_state, trip, activity, proposal}; how it stands then, and whether that is new. Raises SB001 for what is refused, and then nothing is changed.';

create function private.work(session_id uuid, changes jsonb)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    refusal text;
begin
    perform private.enter_work(session_id);
    return private.change_work(session_id, changes);
exception when sqlstate 'SB001' then
    get stacked diagnostics refusal = pg_exception_detail;
    return private.refuse(refusal::jsonb);
end;
$$;
comment on function private.work(uuid, jsonb) is 'The same for a member who works on the session; a refusal is answered.';

create function public.update_chat_session_workflow(session_id uuid, changes jsonb)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
begin
    return private.work(session_id, pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
                            'workflow', changes -> 'workflow', 'step', changes -> 'step'))
                        || pg_catalog.jsonb_build_object('workflow_state', changes -> 'workflow_state', 'trip', changes -> 'trip'));
end;
$$;
comment on function public.update_chat_session_workflow(uuid, jsonb) is
    'Moves a session on: {workflow, step, workflow_state, trip}, all optional and done together or not at all; the session''s work, and changed.';

create function public.update_chat_session_with_trip_info(session_id uuid, trip jsonb)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
begin
    return private.work(session_id, pg_catalog.jsonb_build_object('trip', trip));
end;
$$;
comment on function public.update_chat_session_with_trip_info(uuid, jsonb) is
    'Writes down what is known of a session''s trip: route, date, passengers, and by what other systems know it; the session''s work, and changed.';

create function public.update_chat_session_activity(session_id uuid)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
begin
    return private.work(session_id, '{"activity": true}');
end;
$$;
comment on function public.update_chat_session_activity(uuid) is
    'Something came in for a session on another way: its idle time-out counts from now. Refused for one that is over.';

create function public.update_chat_session_with_proposal(session_id uuid, proposal jsonb)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
begin
    return private.work(session_id, pg_catalog.jsonb_build_object('proposal', proposal));
end;
$$;
comment on function public.update_chat_session_with_proposal(uuid, jsonb) is
    'What is proposed in a session: {status, title, quote_id, details}; the session''s work, and changed.';

create function public.update_chat_session_with_quote(session_id uuid, operator_key text, quote jsonb)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    noted   jsonb;
    refusal text;
begin
    perform private.enter_work(session_id);
    noted := private.note_quote(session_id, operator_key, quote);
    return private.describe_work(private.lock_session(session_id))
        || pg_catalog.jsonb_build_object('quote', noted - 'changed', 'changed', noted -> 'changed');
exception when sqlstate 'SB001' then
    get stacked diagnostics refusal = pg_exception_detail;
    return private.refuse(refusal::jsonb);
end;
$$;
comment on function public.update_chat_session_with_quote(uuid, text, jsonb) is
    'What an operator was asked or gave: {status, operator, external_id, amount, currency, details, primary}; the session''s work, the quote, and changed.';

create function public.create_or_update_chat_session(
    changes    jsonb,
    contact_id uuid  default null,
    space_id   uuid  default null,
    persona_id uuid  default null,
    thread_key text  default null,
    context    jsonb default '{}',
    client     jsonb default '{}'
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
        context => context, client => client);
    if not started ? 'created' then
        return started;
    end if;
    perform private.enter_work((started ->> 'session_id')::uuid);
    return private.change_work((started ->> 'session_id')::uuid, changes)
        || pg_catalog.jsonb_build_object('created', started -> 'created');
exception when sqlstate 'SB001' then
    get stacked diagnostics refusal = pg_exception_detail;
    return private.refuse(refusal::jsonb);
end;
$$;
comment on function public.create_or_update_chat_session(jsonb, uuid, uuid, uuid, text, jsonb, jsonb) is
    'A conversation''s live session, or a new one, as start_session, with changes to its work; the session''s work, changed, and created. Nothing is started where the changes are refused.';

create function public.remove_chat_session_ref(session_id uuid, ref_id uuid)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
begin
    perform private.enter_work(session_id);
    delete from public.session_refs r where r.id = ref_id and r.session_id = remove_chat_session_ref.session_id;
    if not found then
        raise sqlstate 'PT404' using message = 'ref_not_found', detail = 'There is no such reference of this session.';
    end if;
    return pg_catalog.jsonb_build_object('removed', true);
end;
$$;
comment on function public.remove_chat_session_ref(uuid, uuid) is 'Takes away what a session was not known by after all.';

grant execute on function
    private.enter_work(uuid), private.lock_session(uuid), private.change_work(uuid, jsonb), private.work(uuid, jsonb),
    public.update_chat_session_workflow(uuid, jsonb), public.update_chat_session_with_trip_info(uuid, jsonb),
    public.update_chat_session_activity(uuid), public.update_chat_session_with_proposal(uuid, jsonb),
    public.update_chat_session_with_quote(uuid, text, jsonb),
    public.create_or_update_chat_session(jsonb, uuid, uuid, uuid, text, jsonb, jsonb),
    public.remove_chat_session_ref(uuid, uuid)
    to switchboard;

-- A workspace's own workflows -----------------------------------------------------------------------------------------

create function private.describe_transition(transition public.workflow_transitions)
    returns jsonb
    language sql
    stable
    set search_path = ''
as $$
    select pg_catalog.jsonb_build_object(
               'id', transition.id, 'workflow', transition.workflow, 'from_step', transition.from_step, 'to_step', transition.to_step,
               'built_in', transition.workspace_id is null, 'created_at', transition.created_at);
$$;
comment on function private.describe_transition(public.workflow_transitions) is 'A transition as members see it.';

create function public.list_workflow_transitions(workspace_id uuid, after uuid default null, page_size integer default 50)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    perform public.read_workspace(workspace_id);
    return (select private.page(pg_catalog.jsonb_agg(private.describe_transition(t) order by t.id), page_size, 'id')
              from (select t.*
                      from public.workflow_transitions t
                     where (t.workspace_id is null or t.workspace_id = list_workflow_transitions.workspace_id)
                       and (list_workflow_transitions.after is null or t.id > list_workflow_transitions.after)
                     order by t.id
                     limit page_size + 1) t);
end;
$$;
comment on function public.list_workflow_transitions(uuid, uuid, integer) is
    'A page of the steps that may follow another in a workspace''s workflows, the built-in ones first; for its members.';

create function public.add_workflow_transition(workspace_id uuid, transition jsonb)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    added   public.workflow_transitions;
    is_new  boolean := true;
begin
    perform private.enter_as_admin('workspace', workspace_id);
    -- One after the other, so that the same one twice is one.
    perform from public.workspaces w where w.id = add_workflow_transition.workspace_id for no key update;
    select t.* into added
      from public.workflow_transitions t
     where (t.workspace_id is null or t.workspace_id = add_workflow_transition.workspace_id)
       and t.workflow = transition ->> 'workflow'
       and t.from_step is not distinct from transition ->> 'from_step'
       and t.to_step = transition ->> 'to_step'
     order by t.workspace_id nulls first
     limit 1;
    if found then
        is_new := false;
    else
        if (select pg_catalog.count(*) from public.workflow_transitions t where t.workspace_id = add_workflow_transition.workspace_id) >= 1000 then
            raise sqlstate 'PT409' using message = 'too_many_transitions', detail = 'A workspace has 1,000 transitions of its own at most.';
        end if;
        insert into public.workflow_transitions (workspace_id, workflow, from_step, to_step)
        values (add_workflow_transition.workspace_id, transition ->> 'workflow', transition ->> 'from_step', transition ->> 'to_step')
        returning * into added;
        perform private.record_change(workspace_id, 'workflow.extended', added.id);
    end if;
    return private.describe_transition(added) || pg_catalog.jsonb_build_object('created', is_new);
end;
$$;
comment on function public.add_workflow_transition(uuid, jsonb) is
    'Lets a step follow another, {workflow, from_step, to_step}; the same one again, or a built-in one, is answered with created: false. Owners and admins.';

create function public.remove_workflow_transition(workspace_id uuid, transition_id uuid)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
begin
    perform private.enter_as_admin('workspace', workspace_id);
    delete from public.workflow_transitions t
     where t.id = transition_id
       and t.workspace_id = remove_workflow_transition.workspace_id;
    if not found then
        raise sqlstate 'PT404' using message = 'transition_not_found', detail = 'The workspace has no such transition of its own.';
    end if;
    perform private.record_change(workspace_id, 'workflow.narrowed', transition_id);
    return pg_catalog.jsonb_build_object('removed', true);
end;
$$;
comment on function public.remove_workflow_transition(uuid, uuid) is
    'Takes a workspace''s own transition away; sessions that took it stay where they are. Owners and admins.';

grant execute on function public.list_workflow_transitions(uuid, uuid, integer) to authenticated, service_role;
grant execute on function private.describe_transition(public.workflow_transitions) to authenticated, switchboard, service_role;
grant execute on function public.add_workflow_transition(uuid, jsonb), public.remove_workflow_transition(uuid, uuid)
    to switchboard, service_role;
