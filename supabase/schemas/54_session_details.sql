-- Sessions as members, users and contacts read them: details, text search and events.

create view public.session_details with (security_invoker = true) as
select s.id, s.workspace_id, s.conversation_id, s.status, s.persona_id, s.contact_id, s.user_id, s.assigned_user_id,
       s.opened_by_key_id, s.channel, s.space_id,
       (select c.thread_key from public.conversations c where c.id = s.conversation_id) as thread_key,
       (select c.proof from public.conversations c where c.id = s.conversation_id) as proof,
       s.subject, s.metadata, s.turn_count, s.message_count, s.created_at, s.last_activity_at, s.ended_at, s.archived_at, s.updated_at,
       s.error_message as error_code,
       coalesce(case when s.error_message = 'failed_by_member' then (
                    select r.reason
                      from public.session_reasons r
                     where r.session_id = s.id
                       and r.status = 'failed'
                     order by r.created_at desc
                     limit 1) end,
                s.error_message) as error_message,
       s.workflow, s.workflow_step, s.workflow_state, s.request_id, s.primary_quote_id,
       s.ended_at is null as live,
       s.taken_over_at is not null as taken_over, s.taken_over_by, s.taken_over_at,
       jsonb_build_object(
           'id', s.persona_id,
           'name', (select p.name from public.personas p where p.id = s.persona_id)) as persona,
       case when s.contact_id is not null then jsonb_build_object(
           'id', s.contact_id,
           'name', (select coalesce(c.title, nullif(concat_ws(' ', c.first_name, c.last_name), ''))
                      from public.contacts c
                     where c.id = s.contact_id),
           'email', (select i.value
                       from public.contact_identities i
                      where i.contact_id = s.contact_id
                        and i.kind = 'email'
                      order by i.evidence desc, i.created_at, i.id
                      limit 1)) end as contact,
       (select jsonb_build_object(
                   'id', r.id, 'origin', r.origin, 'destination', r.destination, 'departs_at', r.departs_at, 'passengers', r.passengers)
          from public.requests r
         where r.id = s.request_id) as request,
       (select jsonb_build_object(
                   'id', p.id, 'status', p.status, 'title', p.title, 'amount', p.amount, 'currency', p.currency, 'text', p.text)
          from public.proposals p
         where p.session_id = s.id
         order by p.created_at desc, p.id desc
         limit 1) as proposal,
       (select jsonb_build_object('id', q.id, 'operator', q.operator, 'amount', q.amount, 'currency', q.currency,
                                   'aircraft_type', q.aircraft_type)
          from public.quotes q
         where q.id = s.primary_quote_id) as primary_quote,
       (select jsonb_build_object(
                   'expected',  count(*),
                   'received',  count(*) filter (where q.status = 'received'),
                   'declined',  count(*) filter (where q.status = 'declined'),
                   'expired',   count(*) filter (where q.status = 'expired'),
                   'withdrawn', count(*) filter (where q.status = 'withdrawn'),
                   'late',      count(*) filter (where q.late))
          from public.quotes q
         where q.request_id = s.request_id) as quote_counts,
       array(select t.name from public.tags t where t.session_id = s.id order by t.name) as tags,
       case when s.status = 'archived' then (
           select jsonb_build_object(
                      'stored_at', a.stored_at, 'messages_dropped', a.messages_dropped, 'row_group', a.row_group,
                      'object', format('workspace=%s/month=%s/%s.parquet', a.workspace_id, to_char(a.month, 'YYYY-MM'), a.object_id))
             from public.session_archives a
            where a.session_id = s.id
              and a.is_current) end as archive,
       (select jsonb_build_object('id', m.id, 'role', m.role, 'text', left(m.text, 200), 'created_at', m.created_at)
          from public.messages m
         where m.session_id = s.id
         order by m.created_at desc, m.id desc
         limit 1) as last_message,
       case when (select private.reading_member()) is not null then (
           select s.last_activity_at > r.until and exists (
                      select
                        from public.messages m
                       where m.session_id = s.id
                         and m.created_at > r.until
                         and m.role in ('contact', 'user')
                         and m.user_id is distinct from (select private.reading_member()))
             from (select greatest(now() - (select private.unread_window()),
                                   (select c.read_at
                                      from public.conversation_reads c
                                     where c.user_id = (select private.reading_member())
                                       and c.conversation_id = s.conversation_id)) as until) r) end as unread
  from public.sessions s;
comment on view public.session_details is 'Sessions with the names and objects that belong to them, for members. A column is null where its source is hidden from the reader.';
comment on column public.session_details.proof is 'Whether its contact has proven who they are, or only typed it; null on the owner''s side.';
comment on column public.session_details.error_code is 'The code of the last failure.';
comment on column public.session_details.error_message is 'Why it failed: the reason that a member gave, else the code.';
comment on column public.session_details.live is 'Neither ended nor archived: active or paused.';
comment on column public.session_details.archive is 'Where an archived session is stored; null: not yet.';
comment on column public.session_details.proposal is 'The newest one.';
comment on column public.session_details.last_message is 'The newest one: {id, role, text, created_at} with the beginning of its text.';
comment on column public.session_details.unread is 'Whether it has an incoming message that the member has not read; null for API keys and operators.';

create view public.contact_session_details with (security_invoker = true) as
select s.id, s.workspace_id, s.conversation_id, s.status, s.persona_id, s.contact_id, s.user_id,
       s.channel, s.space_id,
       (select c.thread_key from public.conversations c where c.id = s.conversation_id) as thread_key,
       s.turn_count, s.message_count, s.created_at, s.last_activity_at, s.ended_at, s.archived_at, s.updated_at,
       s.error_message as error_code,
       s.error_message,
       s.workflow, s.workflow_step, s.request_id,
       s.ended_at is null as live,
       s.taken_over_at is not null as taken_over,
       jsonb_build_object('id', s.persona_id, 'name', null) as persona,
       case when s.contact_id is not null then jsonb_build_object(
           'id', s.contact_id,
           'name', (select nullif(concat_ws(' ', c.first_name, c.last_name), '') from public.contacts c where c.id = s.contact_id)) end as contact,
       (select jsonb_build_object(
                   'id', r.id, 'origin', r.origin, 'destination', r.destination, 'departs_at', r.departs_at, 'passengers', r.passengers)
          from public.requests r
         where r.id = s.request_id) as request,
       (select jsonb_build_object(
                   'id', p.id, 'status', p.status, 'title', p.title, 'amount', p.amount, 'currency', p.currency, 'text', p.text)
          from public.proposals p
         where p.session_id = s.id
         order by p.created_at desc, p.id desc
         limit 1) as proposal,
       case when s.status = 'archived' then (
           select jsonb_build_object('stored_at', a.stored_at, 'messages_dropped', a.messages_dropped)
             from public.session_archives a
            where a.session_id = s.id
              and a.is_current) end as archive
  from public.sessions s;
comment on view public.contact_session_details is 'The sessions of contacts and users: the columns of session_details that a contact may read.';
comment on column public.contact_session_details.live is 'Neither ended nor archived: active or paused.';
comment on column public.contact_session_details.archive is 'Since when an archived session is stored, and whether its messages are there only.';
comment on column public.contact_session_details.proposal is 'The newest one that the contact may see: no draft.';

create view public.message_words with (security_invoker = true) as
select m.id, m.workspace_id, m.conversation_id, m.session_id,
       private.message_words(m.text) as words
  from public.messages m;
comment on view public.message_words is 'The words of messages, for a full text search session by session.';

create function private.is_common_query(workspace_id uuid, query text, most integer)
    returns boolean language plpgsql stable set search_path = ''
as $$
declare
    asked constant tsquery := private.search_words(query);
begin
    -- The index cannot stop early, so it is not read for a word that its statistics call frequent.
    if querytree(asked) <> 'T'
       and not exists (select
                         from pg_catalog.pg_stats t
                         join pg_catalog.pg_class c on c.oid = 'public.messages'::regclass
                        cross join lateral unnest(t.most_common_elems::text::text[], t.most_common_elem_freqs) e (word, frequency)
                        where t.schemaname = 'public'
                          and t.tablename = 'messages_words_idx'
                          and e.word = any (tsvector_to_array(private.message_words(query)))
                          and e.frequency > least(most / nullif(c.reltuples, 0), 0.05)) then
        return false;
    end if;
    return 50 = (select count(*)
                   from (select
                           from (select s.id
                                   from public.sessions s
                                  where s.workspace_id = is_common_query.workspace_id
                                  order by s.created_at desc, s.id desc
                                  limit 200) s
                          where (select true
                                   from public.messages m
                                  where m.session_id = s.id
                                    and private.message_words(m.text) @@ asked
                                  limit 1)
                          limit 50) f);
end;
$$;
comment on function private.is_common_query is 'Whether one in four of the newest sessions matches a text search: reading the newest sessions then finds a page sooner than the index.';

create function public.search_sessions(
    workspace_id uuid,
    query        text   default null,
    tag          text   default null,
    external_ids text[] default null,
    ref_kind     text   default null
)
    returns setof public.sessions language plpgsql stable security definer set search_path = ''
as $$
declare
    most    constant integer := 10000;
    asked   constant tsquery := private.search_words(query);
    by_ref  uuid[];
    by_tag  uuid[];
    by_text uuid[];
begin
    if not exists (select from private.admin_workspaces() m where m = workspace_id) then
        raise sqlstate 'PT403' using message = 'forbidden', detail = 'owners_and_admins_only';
    end if;
    if numnode(asked) = 0 then
        return;
    end if;
    if external_ids is not null then
        by_ref := array(select r.session_id
                          from public.session_refs r
                         where r.workspace_id = search_sessions.workspace_id
                           and r.external_id = any (external_ids)
                           and r.kind = coalesce(ref_kind, r.kind)
                         limit most + 1);
    end if;
    if tag is not null then
        by_tag := array(select t.session_id
                          from public.tags t
                         where t.workspace_id = search_sessions.workspace_id
                           and t.name = tag
                           and t.contact_id is null
                         limit most + 1);
    end if;
    if query is not null and not private.is_common_query(workspace_id, query, most) then
        by_text := array(select m.session_id
                           from public.messages m
                          where array_to_tsvector(array['workspace:' || m.workspace_id::text]) || private.message_words(m.text)
                                @@ (quote_literal('workspace:' || search_sessions.workspace_id)::tsquery && asked)
                          limit most + 1);
    end if;
    -- Those that match too often are checked session by session below.
    by_ref  := case when cardinality(by_ref) <= most then by_ref end;
    by_tag  := case when cardinality(by_tag) <= most then by_tag end;
    by_text := case when cardinality(by_text) <= most then by_text end;
    if coalesce(by_ref, by_tag, by_text) is null then
        raise sqlstate 'PT422' using message = 'too_many_matches';
    end if;
    return query
    select s.*
      from public.sessions s
     where s.id = any (coalesce(by_ref, by_tag, by_text))
       and s.workspace_id = search_sessions.workspace_id
       and (by_tag is null or s.id = any (by_tag))
       and (by_text is null or s.id = any (by_text))
       and (external_ids is null or by_ref is not null or exists (
               select
                 from public.session_refs r
                where r.session_id = s.id
                  and r.external_id = any (external_ids)
                  and r.kind = coalesce(ref_kind, r.kind)))
       and (tag is null or by_tag is not null or exists (
               select from public.tags t where t.session_id = s.id and t.name = tag))
       and (query is null or by_text is not null or exists (
               select
                 from public.messages m
                where m.session_id = s.id
                  and private.message_words(m.text) @@ asked));
end;
$$;
comment on function public.search_sessions is 'The sessions of a workspace with these words in a message, this tag and one of these external ids, as far as they are given; for its owners and admins. Refused with too_many_matches if no condition narrows them down: then session_details is read in its order, filtered by messages and tags.';

create function public.unread_sessions(workspace_id uuid)
    returns setof public.sessions language plpgsql stable set search_path = ''
as $$
declare
    reader constant uuid        := private.reading_member();
    oldest constant timestamptz := now() - private.unread_window();
begin
    if reader is null or not exists (select from private.member_workspaces() m where m = workspace_id) then
        return;
    end if;
    return query
    select s.*
      from public.sessions s
      left join public.conversation_reads r on r.user_id = reader and r.conversation_id = s.conversation_id
     where s.workspace_id = unread_sessions.workspace_id
       and s.last_activity_at > oldest
       and s.last_activity_at > coalesce(r.read_at, oldest)
       and exists (select
                     from public.messages m
                    where m.session_id = s.id
                      and m.created_at > greatest(r.read_at, oldest)
                      and m.role in ('contact', 'user')
                      and m.user_id is distinct from reader);
end;
$$;
comment on function public.unread_sessions is 'The sessions of a workspace with an incoming message that the calling member has not read, of those that the member sees.';

create function public.session_events(session_id uuid)
    returns table (at timestamptz, event text, actor_id uuid, code text, step text, object_id uuid, reason text)
    language plpgsql
    stable
    security definer
    set search_path = ''
as $$
begin
    return query
    with readable as (
        select s.id, s.workspace_id,
               private.claims() ->> 'role' = 'service_role' or s.workspace_id in (select private.member_workspaces()) as by_member
          from public.sessions s
         where s.id = session_events.session_id
           and (private.claims() ->> 'role' = 'service_role'
                or s.workspace_id in (select private.admin_workspaces())
                or s.id in (select private.own_sessions())
                or (private.claims() ->> 'role' = 'contact' and s.conversation_id = private.token_conversation()))
    )
    -- Tags and assignments are between members, and so is why a takeover ended.
    select a.created_at, a.verb, case when r.by_member then a.actor_id end,
           case when r.by_member or a.verb <> 'session.handed_back' then a.code end, null::text, null::uuid,
           case when r.by_member then (select w.reason
                                         from public.session_reasons w
                                        where w.session_id = r.id
                                          and w.created_at = a.created_at
                                          and a.verb = 'session.' || w.status
                                        limit 1) end
      from readable r
      join public.audit_events a on a.object_id = r.id and a.verb like 'session.%'
                                and (r.by_member or a.verb not in ('session.tagged', 'session.assigned'))
    union all
    select w.created_at, 'workflow.step', w.actor_id, null, w.to_step, null, null
      from readable r
      join public.workflow_steps w on w.session_id = r.id
     where r.by_member
    union all
    select a.created_at, a.verb, a.actor_id, a.code, null, a.object_id, null
      from readable r
     cross join lateral (select q.id from public.quotes q where q.session_id = r.id
                          union all
                         select p.id from public.proposals p where p.session_id = r.id) o
      join public.audit_events a on a.object_id = o.id and a.workspace_id = r.workspace_id
                                and (a.verb like 'quote.%' or a.verb like 'proposal.%')
     where r.by_member;
end;
$$;
comment on function public.session_events is 'What happened to a session that the caller may read. Members and operators'' commands also see actors, reasons, tags, assignments, workflow steps, and the events of its quotes and proposals (object_id).';

create function private.describe_work(session public.sessions)
    returns jsonb language plpgsql stable set search_path = ''
as $$
begin
    return jsonb_build_object(
        'session_id', session.id, 'conversation_id', session.conversation_id, 'contact_id', session.contact_id,
        'proof', (select c.proof from public.conversations c where c.id = session.conversation_id),
        'subject', session.subject, 'updated_at', session.updated_at,
        'status', session.status, 'last_activity_at', session.last_activity_at,
        'workflow', session.workflow, 'workflow_step', session.workflow_step, 'workflow_state', session.workflow_state,
        'request', (select jsonb_build_object(
                               'id', r.id, 'origin', r.origin, 'destination', r.destination, 'departs_at', r.departs_at,
                               'passengers', r.passengers, 'details', r.details)
                      from public.requests r
                     where r.id = session.request_id),
        'primary_quote', (select jsonb_build_object(
                                     'id', q.id, 'operator', q.operator, 'amount', q.amount, 'currency', q.currency,
                                     'aircraft_type', q.aircraft_type)
                            from public.quotes q
                           where q.id = session.primary_quote_id),
        'quote_counts', private.count_quotes(session.request_id),
        'proposal', (select jsonb_build_object(
                                'id', p.id, 'status', p.status, 'title', p.title, 'amount', p.amount, 'currency', p.currency,
                                'text', p.text, 'quote_id', p.quote_id)
                       from public.proposals p
                      where p.id = session.proposal_id),
        'refs', (select coalesce(jsonb_agg(jsonb_build_object(
                                     'id', r.id, 'system', r.system, 'kind', r.kind, 'external_id', r.external_id)
                                     order by r.created_at, r.id), '[]')
                   from public.session_refs r
                  where r.session_id = session.id));
end;
$$;
comment on function private.describe_work is 'The workflow of a session with its request, quotes, proposal and references, as commands return it.';

grant execute on function
    private.describe_work
    to switchboard;

grant execute on function
    public.session_events
    to authenticated, contact, service_role;

grant execute on function
    public.search_sessions, public.unread_sessions
    to authenticated;
