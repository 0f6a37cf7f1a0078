-- Generated from supabase/schemas/57_timeline.sql.
set lock_timeout = '5s';
set statement_timeout = '60s';
set check_function_bodies = off;

-- The timeline of a contact.

create function private.contact_changes(contact_id uuid, after_at timestamptz, after_id uuid, most integer)
    returns table (at timestamptz, id uuid, verb text, actor_id uuid, code text)
    language sql
    stable
    security definer
    set search_path = ''
as $$
    -- Whoever was merged into it, and was not parted from it again, is part of it, and who was merged into them.
    with recursive merged (id) as (
        select contact_changes.contact_id
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
    select a.*
      from merged c
     cross join lateral (select a.created_at, a.id, a.verb, a.actor_id, a.code
                           from public.audit_events a
                          where a.object_id = c.id
                            and (a.created_at, a.id) > (contact_changes.after_at, contact_changes.after_id)
                            -- That it was made, and by what it is known, its own rows say.
                            and (a.verb = 'contact.registered'
                                 or a.verb in ('contact.merged', 'contact.unmerged') and c.id = contact_changes.contact_id)
                            and (private.claims() ->> 'role' = 'service_role'
                                 or a.workspace_id in (select private.member_workspaces()))
                          order by a.created_at, a.id
                          limit most) a
     order by a.created_at, a.id
     limit most;
$$;
comment on function private.contact_changes is 'What the audit says of a contact, and of those who were merged into it, after a place in its order; for its workspace''s members.';

create function public.read_contact_journey(contact_id uuid, after text default null, page_size integer default 50)
    returns jsonb language plpgsql stable set search_path = ''
as $$
declare
    contact constant public.contacts := private.require_contact(contact_id);
    size    constant integer         := least(greatest(page_size, 1), 200);
    -- A cursor is an entry's place: microseconds since 1970, the rank of its kind among what happened then, its id.
    since   constant timestamptz     := coalesce('epoch'::timestamptz + split_part(after, '.', 1)::bigint * interval '1 microsecond', '-infinity');
    rank    constant integer         := coalesce(split_part(after, '.', 2)::integer, -1);
    -- For each kind the id from which on it goes on at that very time: all of it, none of it, or what is after the entry's.
    ids     constant uuid[]          := array(
        select case when kind > rank then '00000000-0000-0000-0000-000000000000'
                    when kind < rank then 'ffffffff-ffff-ffff-ffff-ffffffffffff'
                    else split_part(after, '.', 3) end::uuid
          from generate_series(0, 11) kind
         order by kind);
    items   jsonb;
begin
    select jsonb_agg(jsonb_build_object('at', e.at, 'event', e.event)
                                || jsonb_strip_nulls(e.more)
                                || jsonb_build_object('cursor', (extract(epoch from e.at) * 1000000)::bigint || '.' || e.kind || '.' || e.id)
                                order by e.at, e.kind, e.id)
      into items
      from (select j.*
              from ((select contact.created_at as at, 0 as kind, contact.id, 'contact.created' as event, '{}'::jsonb as more
                      where (contact.created_at, contact.id) > (since, ids[1]))
                    union all
                    (select c.at, 1, c.id, c.verb,
                            jsonb_build_object('actor_id', c.actor_id)
                            || case when c.verb = 'contact.registered' then jsonb_build_object('verified_by', c.code)
                                    else jsonb_build_object('contact_id', c.code) end
                       from private.contact_changes(contact.id, since, ids[2], size + 1) c)
                    union all
                    (select i.created_at, 2, i.id, 'contact.identified',
                            jsonb_build_object('identity', i.kind || ':' || i.key, 'asserted_by', i.asserted_by)
                       from public.contact_identities i
                      where i.contact_id = contact.id
                        and (i.created_at, i.id) > (since, ids[3])
                      order by i.created_at, i.id
                      limit size + 1)
                    union all
                    (select i.verified_at, 3, i.id, 'contact.verified',
                            jsonb_build_object('identity', i.kind || ':' || i.key, 'verified_by', i.verified_by)
                       from public.contact_identities i
                      where i.contact_id = contact.id
                        and (i.verified_at, i.id) > (since, ids[4])
                      order by i.verified_at, i.id
                      limit size + 1)
                    union all
                    (select s.created_at, 4, s.id, 'session.opened', jsonb_build_object('session_id', s.id, 'persona_id', s.persona_id)
                       from public.sessions s
                      where s.contact_id = contact.id
                        and s.ended_at is not null
                        and (s.created_at, s.id) > (since, ids[5])
                      order by s.created_at, s.id
                      limit size + 1)
                    union all
                    (select s.first_message_at, 5, s.id, 'session.first_message', jsonb_build_object('session_id', s.id)
                       from public.sessions s
                      where s.contact_id = contact.id
                        and s.ended_at is not null
                        and (s.first_message_at, s.id) > (since, ids[6])
                      order by s.first_message_at, s.id
                      limit size + 1)
                    union all
                    -- A conversation has one live session at most, so these are as many as its conversations.
                    (select l.at, l.kind, s.id, l.event,
                            jsonb_build_object('session_id', s.id, 'persona_id', case when l.kind = 4 then s.persona_id end)
                       from public.conversations c
                       join public.sessions s on s.conversation_id = c.id and s.status in ('active', 'paused')
                      cross join lateral (values (4, 'session.opened', s.created_at), (5, 'session.first_message', s.first_message_at)) l (kind, event, at)
                      where c.contact_id = contact.id
                        and (l.at, s.id) > (since, ids[l.kind + 1])
                      order by l.at, l.kind, s.id
                      limit size + 1)
                    union all
                    (select w.created_at, 6, w.id, 'workflow.step',
                            jsonb_build_object('session_id', s.id, 'workflow', w.workflow, 'from_step', w.from_step,
                                                          'to_step', w.to_step, 'actor_id', w.actor_id)
                       from public.sessions s
                      cross join lateral (select w.*
                                            from public.workflow_steps w
                                           where w.session_id = s.id
                                             and w.created_at >= since
                                             and (w.created_at, w.id) > (since, ids[7])
                                           order by w.created_at, w.id
                                           limit size + 1) w
                      where s.contact_id = contact.id
                        and (s.workflow is not null or s.request_id is not null)
                      order by w.created_at, w.id
                      limit size + 1)
                    union all
                    (select l.at, l.kind, q.id, l.event,
                            jsonb_build_object('session_id', s.id, 'quote_id', q.id, 'operator', q.operator)
                            || case when l.kind = 8 then jsonb_build_object('amount', q.amount, 'currency', q.currency,
                                                                                       'late', nullif(q.late, false))
                                    else '{}' end
                       from public.sessions s
                       join public.quotes q on q.session_id = s.id
                      cross join lateral (values (7, 'quote.requested', q.created_at), (8, 'quote.received', q.received_at),
                                                 (9, 'quote.' || q.status,
                                                  case when q.status in ('declined', 'expired', 'withdrawn') then q.updated_at end)) l (kind, event, at)
                      where s.contact_id = contact.id
                        and (s.workflow is not null or s.request_id is not null)
                        and (l.at, q.id) > (since, ids[l.kind + 1])
                      order by l.at, l.kind, q.id
                      limit size + 1)
                    union all
                    (select s.ended_at, 10, s.id, 'session.' || coalesce(s.status_before_archive, s.status),
                            jsonb_build_object('session_id', s.id, 'error_code', s.error_message)
                       from public.sessions s
                      where s.contact_id = contact.id
                        and s.ended_at is not null
                        and (s.ended_at, s.id) > (since, ids[11])
                      order by s.ended_at, s.id
                      limit size + 1)
                    union all
                    (select s.archived_at, 11, s.id, 'session.archived', jsonb_build_object('session_id', s.id)
                       from public.sessions s
                      where s.contact_id = contact.id
                        and s.archived_at is not null
                        and (s.archived_at, s.id) > (since, ids[12])
                      order by s.archived_at, s.id
                      limit size + 1)) j
             order by j.at, j.kind, j.id
             limit size + 1) e;
    return private.page(items, size, 'cursor');
end;
$$;
comment on function public.read_contact_journey is 'A page of what became of a contact, oldest first: {at, event, …} of the contact, its identities, and of those sessions, with their workflow steps and quotes, that the caller may see.';

grant execute on function
    private.contact_changes, public.read_contact_journey
    to authenticated, service_role;
