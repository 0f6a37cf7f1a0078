-- What lists show of a page of sessions was looked up session by session, each time from an index's root down, which is one
-- level more when there is a hundred times as much. A page's sessions were begun one after the other, and so were what
-- they propose and ask for: they are looked up together, by one array of ids each, and lie on a few pages beside each other. A
-- page's contacts and conversations are of all ages: these stay look-ups of their own.

set lock_timeout = '5s';
set statement_timeout = '60s';

create type private.session_shown as (
    id               uuid,
    workspace_id     uuid,
    conversation_id  uuid,
    contact_id       uuid,
    user_id          uuid,
    persona_id       uuid,
    status           public.session_status,
    turn_count       integer,
    message_count    integer,
    created_at       timestamptz,
    last_activity_at timestamptz,
    ended_at         timestamptz,
    archived_at      timestamptz,
    error_message    text,
    workflow         text,
    workflow_step    text,
    request_id       uuid,
    taken_over_at    timestamptz,
    taken_over_by    uuid,
    assigned_user_id uuid,
    primary_quote_id uuid
);
comment on type private.session_shown is 'What lists show of a session''s own row; the last three are null for contacts, who are not granted them.';

create or replace function private.describe_sessions(query text)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    to_contact constant boolean := private.claims() ->> 'role' is not distinct from 'contact';
    ids        uuid[];
    shown      private.session_shown[];
    requests   uuid[];
    quotes     uuid[];
    described  jsonb;
begin
    -- First which they are, planned for what is asked; then what is shown of these few, by plans that are kept. Whatever is
    -- materialized is read once, for all of them; and where there is nothing to look up, nobody's rights are asked either.
    execute pg_catalog.format('select pg_catalog.array_agg(s.id) from (%s) s', query) into ids;
    if ids is null then
        return pg_catalog.jsonb_build_array();
    end if;
    if to_contact then
        select pg_catalog.array_agg(row(
                   s.id, s.workspace_id, s.conversation_id, s.contact_id, s.user_id, s.persona_id, s.status, s.turn_count,
                   s.message_count, s.created_at, s.last_activity_at, s.ended_at, s.archived_at, s.error_message,
                   s.workflow, s.workflow_step, s.request_id, s.taken_over_at,
                   null, null, null)::private.session_shown)
          into shown
          from public.sessions s
         where s.id = any (ids);
    else
        select pg_catalog.array_agg(row(
                   s.id, s.workspace_id, s.conversation_id, s.contact_id, s.user_id, s.persona_id, s.status, s.turn_count,
                   s.message_count, s.created_at, s.last_activity_at, s.ended_at, s.archived_at, s.error_message,
                   s.workflow, s.workflow_step, s.request_id, s.taken_over_at,
                   s.taken_over_by, s.assigned_user_id, s.primary_quote_id)::private.session_shown)
          into shown
          from public.sessions s
         where s.id = any (ids);
    end if;
    requests := array(select s.request_id from pg_catalog.unnest(shown) s where s.request_id is not null);
    quotes := array(select s.primary_quote_id from pg_catalog.unnest(shown) s where s.primary_quote_id is not null);

    with asked as materialized (
             select r.id, r.origin, r.destination, r.departs_at, r.passengers
               from public.requests r
              where requests <> '{}'
                and r.id = any (requests)),
         proposed as materialized (
             select distinct on (o.session_id) o.session_id, o.id, o.status
               from public.proposals o
              where o.session_id = any (ids)
              order by o.session_id, o.created_at desc, o.id desc)
    select coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
               'id', s.id, 'workspace_id', s.workspace_id, 'conversation_id', s.conversation_id, 'status', s.status,
               'persona', pg_catalog.jsonb_build_object('id', s.persona_id, 'name', null),
               'contact', case when s.contact_id is not null then pg_catalog.jsonb_build_object(
                   'id', s.contact_id, 'name', nullif(pg_catalog.concat_ws(' ', k.first_name, k.last_name), '')) end,
               'user_id', s.user_id, 'assigned_user_id', null,
               'channel', c.channel, 'space_id', c.space_id, 'thread_key', c.thread_key,
               'turn_count', s.turn_count, 'message_count', s.message_count, 'created_at', s.created_at,
               'last_activity_at', s.last_activity_at, 'ended_at', s.ended_at, 'archived_at', s.archived_at,
               'error_message', s.error_message,
               'workflow', s.workflow, 'workflow_step', s.workflow_step,
               'request', case when r.id is not null then pg_catalog.jsonb_build_object(
                   'id', r.id, 'origin', r.origin, 'destination', r.destination,
                   'departs_at', r.departs_at, 'passengers', r.passengers) end,
               'proposal', case when o.id is not null then pg_catalog.jsonb_build_object('id', o.id, 'status', o.status) end,
               'taken_over', s.taken_over_at is not null)
               order by s.created_at desc, s.id desc), '[]')
      into described
      from pg_catalog.unnest(shown) s
      left join asked r on r.id = s.request_id
      left join proposed o on o.session_id = s.id
      left join lateral (
          select c.channel, c.space_id, c.thread_key from public.conversations c where c.id = s.conversation_id offset 0) c on true
      left join lateral (
          select k.first_name, k.last_name from public.contacts k where k.id = s.contact_id offset 0) k on true;
    if to_contact then
        return described;
    end if;

    -- What contacts are not granted: names of personas, which come along where the reader may see them, and what is for members.
    return (
        with named as materialized (
                 select p.id, p.name
                   from public.personas p
                  where p.id = any (array(select s.persona_id from pg_catalog.unnest(shown) s))),
             preferred as materialized (
                 select q.id, q.operator, q.amount, q.currency
                   from public.quotes q
                  where quotes <> '{}'
                    and q.id = any (quotes)),
             counted as materialized (
                 select q.request_id,
                        pg_catalog.jsonb_build_object(
                            'expected',  pg_catalog.count(*),
                            'received',  pg_catalog.count(*) filter (where q.status = 'received'),
                            'declined',  pg_catalog.count(*) filter (where q.status = 'declined'),
                            'expired',   pg_catalog.count(*) filter (where q.status = 'expired'),
                            'withdrawn', pg_catalog.count(*) filter (where q.status = 'withdrawn'),
                            'late',      pg_catalog.count(*) filter (where q.late)) as numbers
                   from public.quotes q
                  where requests <> '{}'
                    and q.request_id = any (requests)
                  group by q.request_id),
             tagged as materialized (
                 select t.session_id, pg_catalog.jsonb_agg(t.name order by t.name) as names
                   from public.tags t
                  where t.session_id = any (ids)
                  group by t.session_id)
        select coalesce(pg_catalog.jsonb_agg(d.item || pg_catalog.jsonb_build_object(
                            'persona', pg_catalog.jsonb_build_object('id', s.persona_id, 'name', p.name))
                        || case when s.workspace_id in (select private.member_workspaces()) then pg_catalog.jsonb_build_object(
                               'primary_quote', case when q.id is not null then pg_catalog.jsonb_build_object(
                                   'id', q.id, 'operator', q.operator, 'amount', q.amount, 'currency', q.currency) end,
                               'quote_counts', coalesce(n.numbers, pg_catalog.jsonb_build_object(
                                   'expected', 0, 'received', 0, 'declined', 0, 'expired', 0, 'withdrawn', 0, 'late', 0)),
                               'tags', coalesce(t.names, '[]'),
                               'assigned_user_id', s.assigned_user_id,
                               'taken_over_by', s.taken_over_by, 'taken_over_at', s.taken_over_at) else '{}' end
                        order by d.place), '[]')
          from pg_catalog.jsonb_array_elements(described) with ordinality d (item, place)
          join pg_catalog.unnest(shown) s on s.id = (d.item ->> 'id')::uuid
          left join named p on p.id = s.persona_id
          left join preferred q on q.id = s.primary_quote_id
          left join counted n on n.request_id = s.request_id
          left join tagged t on t.session_id = s.id);
end;
$$;
