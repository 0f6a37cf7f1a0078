-- Many sessions paused, resumed, completed or cancelled in one call, each on its own: what is refused for one changes
-- nothing for the others.

set lock_timeout = '5s';
set statement_timeout = '60s';

create function public.change_sessions_status(session_ids uuid[], status public.session_status)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    most    constant integer := 100;
    asked   constant uuid[]  := array(select distinct i from pg_catalog.unnest(session_ids) i where i is not null order by i);
    one     uuid;
    places  jsonb            := '[]'::jsonb;
    entered uuid;
    changed jsonb;
    code    text;
    items   jsonb            := '[]'::jsonb;
begin
    if pg_catalog.cardinality(asked) > most then
        raise sqlstate 'PT422' using message = 'invalid_body', detail = 'At most 100 sessions at once.';
    end if;
    if status not in ('active', 'paused', 'completed', 'cancelled') then
        raise sqlstate 'PT422' using message = 'invalid_body', detail = 'A session is paused, resumed, completed or cancelled.';
    end if;
    foreach one in array asked loop
        begin
            perform private.enter_session(one);
            places := places || (select pg_catalog.jsonb_build_object(
                                            'id', s.id, 'workspace_id', s.workspace_id, 'conversation_id', s.conversation_id,
                                            'persona_id', s.persona_id)
                                   from public.sessions s
                                  where s.id = one);
        exception when sqlstate 'PT404' then
            items := items || pg_catalog.jsonb_build_object('id', one, 'code', 'session_not_found');
        end;
    end loop;

    -- All conversations before all sessions, each kind in one order: two who change the same ones never wait in a circle.
    for entered in select distinct p.workspace_id from pg_catalog.jsonb_to_recordset(places) p (workspace_id uuid) order by 1 loop
        perform pg_catalog.set_config('switchboard.workspace_id', entered::text, true);
        perform
           from public.conversations c
          where c.id in (select p.conversation_id
                           from pg_catalog.jsonb_to_recordset(places) p (workspace_id uuid, conversation_id uuid)
                          where p.workspace_id = entered)
          order by c.id
            for no key update;
    end loop;
    for entered in select distinct p.workspace_id from pg_catalog.jsonb_to_recordset(places) p (workspace_id uuid) order by 1 loop
        perform pg_catalog.set_config('switchboard.workspace_id', entered::text, true);
        perform
           from public.sessions s
          where s.id in (select p.id from pg_catalog.jsonb_to_recordset(places) p (id uuid, workspace_id uuid) where p.workspace_id = entered)
          order by s.id
            for no key update;
    end loop;

    -- By persona, since a turn that is ended here may lock its breaker until the end, as the sweep of turns does.
    for one in select p.id from pg_catalog.jsonb_to_recordset(places) p (id uuid, persona_id uuid) order by p.persona_id, p.id loop
        begin
            changed := public.change_session_status(one, status);
        exception when sqlstate 'PT403' or sqlstate 'PT404' then
            get stacked diagnostics code = message_text;
            changed := pg_catalog.jsonb_build_object('code', code);
        end;
        items := items || (changed - '{session_id,conversation_id}'::text[] || pg_catalog.jsonb_build_object('id', one));
    end loop;
    -- A refusal of one is not the answer's.
    perform pg_catalog.set_config('response.status', '', true);
    perform pg_catalog.set_config('response.headers', '', true);
    return pg_catalog.jsonb_build_object('items', items);
end;
$$;
comment on function public.change_sessions_status(uuid[], public.session_status) is
    'Does to each of up to 100 sessions what change_session_status does to one: {items}, each {id, status, changed} or {id, code, …}; with stopping: true those to ask again.';

grant execute on function public.change_sessions_status(uuid[], public.session_status) to switchboard;
