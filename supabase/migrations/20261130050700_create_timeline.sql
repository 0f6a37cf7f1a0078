-- Generated from supabase/schemas/57_timeline.sql.
set lock_timeout = '5s';
set statement_timeout = '60s';
set check_function_bodies = off;

-- The timeline of a contact: a page merges events of several tables, each read from its index in the order of the page.
-- Events are ordered by (at, kind, id); kind is a number that orders events of the same time. The cursor of an event is its at
-- in microseconds since 1970, its kind and its id.

create function private.audited_events(contact_id uuid, after_at timestamptz, after_kind integer, after_id uuid, page_size integer)
    returns table (at timestamptz, kind integer, id uuid, event text, details jsonb)
    language sql
    stable
    security definer
    set search_path = ''
as $$
    -- The contact, and the contacts that were merged into it, directly or not, and not unmerged since.
    with recursive merged (id) as (
        select audited_events.contact_id
         union
        select m.code::uuid
          from merged c
          join public.audit_events m on m.object_id = c.id and m.verb in ('contact.merged', 'contact.unmerged')
         where m.verb = 'contact.merged'
           and (select count(*) filter (where e.verb = 'contact.merged') > count(*) filter (where e.verb = 'contact.unmerged')
                  from public.audit_events e
                 where e.object_id = c.id
                   and e.code = m.code
                   and e.verb in ('contact.merged', 'contact.unmerged'))
    )
    select a.created_at, 1, a.id, a.verb,
           jsonb_build_object('actor_id', a.actor_id)
           || jsonb_build_object(case when a.verb = 'contact.registered' then 'verified_by' else 'contact_id' end, a.code)
      from merged c
     cross join lateral (select a.*
                           from public.audit_events a
                          where a.object_id = c.id
                            and (a.created_at, 1, a.id) > (after_at, after_kind, after_id)
                            -- Its creation and its identities have events from their own tables.
                            and (a.verb = 'contact.registered'
                                 or a.verb in ('contact.merged', 'contact.unmerged') and c.id = audited_events.contact_id)
                            and (private.claims() ->> 'role' = 'service_role'
                                 or a.workspace_id in (select private.member_workspaces()))
                          order by a.created_at, a.id
                          limit page_size) a
     order by a.created_at, a.id
     limit page_size;
$$;
comment on function private.audited_events is 'Registrations of a contact and of the contacts merged into it, and its merges; for members of its workspace.';

create function private.identity_events(contact_id uuid, after_at timestamptz, after_kind integer, after_id uuid, page_size integer)
    returns table (at timestamptz, kind integer, id uuid, event text, details jsonb)
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return query
        select e.at, e.kind, i.id, e.event, jsonb_build_object('identity', i.kind || ':' || i.key) || e.details
          from public.contact_identities i
         cross join lateral (
             values (2, i.created_at,  'contact.identified', jsonb_build_object('asserted_by', i.asserted_by)),
                    (3, i.verified_at, 'contact.verified',   jsonb_build_object('verified_by', i.verified_by))
         ) e (kind, at, event, details)
         where i.contact_id = identity_events.contact_id
           and (e.at, e.kind, i.id) > (after_at, after_kind, after_id)
         order by e.at, e.kind, i.id
         limit page_size;
end;
$$;
comment on function private.identity_events is 'The identities of a contact: asserted and verified.';

create function private.last_message_at(session_id uuid)
    returns timestamptz language plpgsql stable set search_path = ''
as $$
begin
    return (select m.created_at
              from public.messages m
             where m.session_id = last_message_at.session_id
             order by m.created_at desc
             limit 1);
end;
$$;
comment on function private.last_message_at is 'The time of a session''s last message; null without one.';

create function private.session_events(contact_id uuid, after_at timestamptz, after_kind integer, after_id uuid, page_size integer)
    returns table (at timestamptz, kind integer, id uuid, event text, details jsonb)
    language plpgsql
    stable
    set search_path = ''
    -- The plan for any contact reads all sessions of one that has many.
    set plan_cache_mode = 'force_custom_plan'
as $$
begin
    return query
        (select s.created_at, 4, s.id, 'session.opened', jsonb_build_object('session_id', s.id, 'persona_id', s.persona_id)
           from public.sessions s
          where s.contact_id = session_events.contact_id
            and s.ended_at is not null
            and (s.created_at, 4, s.id) > (after_at, after_kind, after_id)
          order by s.created_at, s.id
          limit page_size)
        union all
        (select s.first_message_at, 5, s.id, 'session.first_message', jsonb_build_object('session_id', s.id)
           from public.sessions s
          where s.contact_id = session_events.contact_id
            and s.ended_at is not null
            and (s.first_message_at, 5, s.id) > (after_at, after_kind, after_id)
          order by s.first_message_at, s.id
          limit page_size)
        union all
        -- The indexes for these two hold ended sessions only. A conversation has at most one other.
        (select e.at, e.kind, s.id, e.event,
                jsonb_build_object('session_id', s.id, 'persona_id', case when e.kind = 4 then s.persona_id end,
                                   'message_count', case when e.kind = 9 then s.message_count end)
           from public.conversations c
           join public.sessions s on s.conversation_id = c.id and s.status in ('active', 'paused')
          cross join lateral (values (4, s.created_at,                  'session.opened'),
                                     (5, s.first_message_at,            'session.first_message'),
                                     (9, private.last_message_at(s.id), 'session.last_message')) e (kind, at, event)
          where c.contact_id = session_events.contact_id
            and (e.at, e.kind, s.id) > (after_at, after_kind, after_id)
          order by e.at, e.kind, s.id
          limit page_size)
        union all
        (select s.ended_at, 10, s.id, 'session.' || coalesce(s.status_before_archive, s.status),
                jsonb_build_object('session_id', s.id, 'error_code', s.error_message, 'message_count', s.message_count,
                                   'last_message_at', private.last_message_at(s.id))
           from (select s.id, s.ended_at, s.status, s.status_before_archive, s.error_message, s.message_count
                   from public.sessions s
                  where s.contact_id = session_events.contact_id
                    and s.ended_at is not null
                    and (s.ended_at, 10, s.id) > (after_at, after_kind, after_id)
                  order by s.ended_at, s.id
                  limit page_size) s)
        union all
        (select s.archived_at, 11, s.id, 'session.archived', jsonb_build_object('session_id', s.id)
           from public.sessions s
          where s.contact_id = session_events.contact_id
            and s.archived_at is not null
            and (s.archived_at, 11, s.id) > (after_at, after_kind, after_id)
          order by s.archived_at, s.id
          limit page_size);
end;
$$;
comment on function private.session_events is 'The sessions of a contact: opened, first message, last message (of a live one), ended (with the last message and the number of messages), archived.';

create function private.work_events(contact_id uuid, after_at timestamptz, after_kind integer, after_id uuid, page_size integer)
    returns table (at timestamptz, kind integer, id uuid, event text, details jsonb)
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return query
        with working as materialized (
            select s.id
              from public.sessions s
             where s.contact_id = work_events.contact_id
               and (s.workflow is not null or s.request_id is not null)
        )
        (select w.created_at, 6, w.id, 'workflow.step',
                jsonb_build_object('session_id', s.id, 'workflow', w.workflow, 'from_step', w.from_step, 'to_step', w.to_step,
                                   'actor_id', w.actor_id)
           from working s
          cross join lateral (select w.*
                                from public.workflow_steps w
                               where w.session_id = s.id
                                 and (w.created_at, 6, w.id) > (after_at, after_kind, after_id)
                               order by w.created_at, w.id
                               limit page_size) w
          order by w.created_at, w.id
          limit page_size);
end;
$$;
comment on function private.work_events is 'Workflow steps of a contact''s sessions.';

create function private.offer_events(contact_id uuid, after_at timestamptz, after_kind integer, after_id uuid, page_size integer)
    returns table (at timestamptz, kind integer, id uuid, event text, details jsonb)
    language sql
    stable
    security definer
    set search_path = ''
    -- A plan for a contact with many sessions would read all of them instead of the index of those with work.
    set plan_cache_mode = 'force_generic_plan'
as $$
    with working as materialized (
        select s.id, s.workspace_id
          from public.sessions s
         where s.contact_id = offer_events.contact_id
           and (s.workflow is not null or s.request_id is not null)
    ), readable as materialized (
        select w.id
          from working w
         where private.claims() ->> 'role' = 'service_role'
            or w.workspace_id in (select private.admin_workspaces())
            or (w.workspace_id in (select private.member_workspaces()) and w.id in (select private.own_sessions()))
    )
    select a.created_at, 7, a.id, a.verb,
           o.details || jsonb_build_object('session_id', r.id, 'actor_id', a.actor_id)
           || case when a.verb in ('quote.received', 'proposal.sent', 'proposal.accepted') then o.price else '{}' end
           || case when a.code = 'late' then '{"late": true}' else '{}' end::jsonb
      from readable r
     cross join lateral (
           select q.id, jsonb_build_object('quote_id', q.id, 'operator', q.operator) as details,
                  jsonb_build_object('amount', q.amount, 'currency', q.currency) as price
             from public.quotes q
            where q.session_id = r.id
           union all
           select p.id, jsonb_build_object('proposal_id', p.id, 'title', p.title),
                  jsonb_build_object('amount', p.amount, 'currency', p.currency)
             from public.proposals p
            where p.session_id = r.id) o
      join public.audit_events a on a.object_id = o.id and (a.verb like 'quote.%' or a.verb like 'proposal.%')
     where (a.created_at, 7, a.id) > (after_at, after_kind, after_id)
     order by a.created_at, a.id
     limit page_size;
$$;
comment on function private.offer_events is 'The quotes and proposals of a contact''s sessions that the member may see, at the times of session_events.';

create function public.read_contact_timeline(
    contact_id uuid,
    after_at   timestamptz default '-infinity',
    after_kind integer     default -1,
    after_id   uuid        default '00000000-0000-0000-0000-000000000000',
    page_size  integer     default 50
)
    returns jsonb language plpgsql stable set search_path = ''
as $$
declare
    -- The largest page of the route, and one event more, which tells whether there is a next page.
    most    constant integer := least(greatest(page_size, 1), 201);
    contact public.contacts;
begin
    select c.* into contact from public.contacts c where c.id = read_contact_timeline.contact_id;
    if not found then
        raise sqlstate 'PT404' using message = 'contact_not_found';
    elsif contact.merged_into_id is not null then
        raise sqlstate 'PT307' using message = 'contact_merged', hint = private.merge_target(contact.id)::text;
    end if;
    return (
        select jsonb_build_object('items', coalesce(jsonb_agg(
                   jsonb_build_object('at', e.at, 'event', e.event) || jsonb_strip_nulls(e.details) || jsonb_build_object(
                       'cursor', (extract(epoch from e.at) * 1000000)::bigint || '.' || e.kind || '.' || e.id)
                   order by e.at, e.kind, e.id), '[]'))
          from (select contact.created_at as at, 0 as kind, contact.id, 'contact.created' as event, '{}'::jsonb as details
                 where (contact.created_at, 0, contact.id) > (after_at, after_kind, after_id)
                union all
                select * from private.audited_events(contact.id, after_at, after_kind, after_id, most)
                union all
                select * from private.identity_events(contact.id, after_at, after_kind, after_id, most)
                union all
                select * from private.session_events(contact.id, after_at, after_kind, after_id, most)
                union all
                select * from private.work_events(contact.id, after_at, after_kind, after_id, most)
                union all
                select * from private.offer_events(contact.id, after_at, after_kind, after_id, most)
                 order by at, kind, id
                 limit most) e);
end;
$$;
comment on function public.read_contact_timeline is 'A page of the events of a contact, oldest first: {items: [{at, event, …, cursor}]}; of the sessions that the caller may see.';

grant execute on function
    private.audited_events, private.identity_events, private.last_message_at, private.session_events, private.work_events, private.offer_events,
    public.read_contact_timeline
    to authenticated, service_role;
