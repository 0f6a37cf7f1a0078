-- Generated from supabase/schemas/76_imports.sql.
set lock_timeout = '5s';
set statement_timeout = '60s';
set check_function_bodies = off;

-- Imports: contacts and conversations of another system, or of an export of ours, in batches. Each batch is one transaction
-- with one statement per table. Ids of conversations, sessions and what is in them follow from the ids in the source
-- (lib/imports/batches.py), so a repeat stores nothing twice.

create function private.import_personas(workspace_id uuid, names text[])
    returns void language plpgsql set search_path = ''
as $$
declare
    named constant text[] := array(select distinct w.name from unnest(names) w (name) where w.name is not null);
begin
    if named <@ array(select p.name from public.personas p where p.workspace_id = import_personas.workspace_id) then
        return;
    end if;
    -- Of two batches at once one creates them.
    perform pg_advisory_xact_lock(hashtextextended('switchboard.import.personas' || workspace_id::text, 0));
    insert into public.personas (workspace_id, kind, name, enabled)
    select import_personas.workspace_id, 'demo', n.name, false
      from unnest(named) n (name)
     where not exists (select
                         from public.personas p
                        where p.workspace_id = import_personas.workspace_id
                          and p.name = n.name);
end;
$$;
comment on function private.import_personas is 'Creates the personas of imported conversations that the workspace has not, by name; disabled.';

create function private.persona_named(workspace_id uuid, name text)
    returns uuid language sql stable set search_path = ''
as $$
    select p.id
      from public.personas p
     where p.workspace_id = persona_named.workspace_id
       and p.name = persona_named.name
     order by p.created_at, p.id
     limit 1;
$$;
comment on function private.persona_named is 'The first persona of this name.';

create function private.imported_user(workspace_id uuid, member_id uuid, stand_in uuid)
    returns uuid language sql stable set search_path = ''
as $$
    select coalesce((select m.user_id
                       from public.workspace_members m
                      where m.workspace_id = imported_user.workspace_id
                        and m.user_id = member_id), stand_in);
$$;
comment on function private.imported_user is 'The author of an imported message: a member of the workspace with this id, or else an id that no user has.';

create function private.import_conversations(workspace_id uuid, source text, conversations jsonb, persona_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    names   constant text[] := array(select c.persona from jsonb_to_recordset(conversations) c (persona text));
    results jsonb;
begin
    perform private.import_personas(workspace_id, names);
    with item as materialized (
        select c.*
          from jsonb_to_recordset(conversations) c (
               n integer, id uuid, external_id text, contact text, user_id uuid, member_id uuid, persona text, space text, channel text,
               created_at timestamptz)
    ), persona as materialized (
        select w.name, private.persona_named(import_conversations.workspace_id, w.name) as id
          from (select distinct unnest(names) as name) w
         where w.name is not null
    ), space as materialized (
        select distinct on (s.name) s.name, s.id
          from public.spaces s
         where s.workspace_id = import_conversations.workspace_id
         order by s.name, s.created_at, s.id
    ), place as materialized (
        select i.*, k.contact_id, coalesce(p.id, own.id) as persona_id, s.id as space_id,
               case when i.contact is not null and k.contact_id is null then 'contact_not_found'
                    when coalesce(p.id, own.id) is null then 'persona_not_found' end as code
          from item i
          left join private.imported_contacts(import_conversations.workspace_id, import_conversations.source,
                                              array(select distinct e.contact from item e where e.contact is not null)) k
            on k.external_id = i.contact
          left join persona p on p.name = i.persona
          left join public.personas own on own.id = import_conversations.persona_id
          left join space s on s.name = i.space
    ), new as (
        insert into public.conversations (id, workspace_id, contact_id, user_id, persona_id, space_id, channel, thread_key, proof, created_at)
        select distinct on (p.id)
               p.id, import_conversations.workspace_id, p.contact_id,
               case when p.contact_id is null then private.imported_user(import_conversations.workspace_id, p.member_id, p.user_id) end,
               p.persona_id, p.space_id, p.channel, 'import:' || p.id, case when p.contact_id is not null then 'asserted'::public.proof end, p.created_at
          from place p
         where p.code is null
         order by p.id, p.n
        on conflict do nothing
        returning id
    ), named as (
        insert into public.import_refs (workspace_id, source, kind, external_id, conversation_id)
        select import_conversations.workspace_id, import_conversations.source, 'conversation', p.external_id, p.id
          from place p
          join new on new.id = p.id
        on conflict do nothing
    )
    select jsonb_agg(jsonb_build_object('n', p.n, 'id', case when p.code is null then p.id end, 'code', p.code,
                                        'is_new', new.id is not null and p.place = 1) order by p.n)
      into results
      from (select a.*, row_number() over (partition by a.id order by a.n) as place from place a) p
      left join new on new.id = p.id;
    return coalesce(results, '[]');
end;
$$;
comment on function private.import_conversations is 'Stores imported conversations, without proof and under a thread key of their own: [{n, id, code, is_new}]. code: it is refused. persona_id answers for those that name no persona.';

create function private.import_sessions(workspace_id uuid, sessions jsonb)
    returns uuid[] language plpgsql set search_path = ''
as $$
declare
    new_ids uuid[];
begin
    with new as (
        insert into public.sessions (
               id, workspace_id, conversation_id, contact_id, user_id, persona_id, space_id, channel, status, turn_count,
               message_count, metadata, error_message, created_at, last_activity_at, ended_at, workflow, workflow_step,
               workflow_state, first_message_at, updated_at, subject)
        select s.id, c.workspace_id, c.id, c.contact_id, c.user_id, c.persona_id, c.space_id, c.channel, s.status, s.turn_count,
               s.message_count, s.metadata, s.error_message, s.created_at, s.last_activity_at, s.ended_at, s.workflow,
               s.workflow_step, s.workflow_state, s.first_message_at, s.last_activity_at, s.subject
          from jsonb_to_recordset(sessions) s (
               id uuid, conversation_id uuid, status public.session_status, turn_count integer, message_count integer,
               metadata jsonb, error_message text, created_at timestamptz, last_activity_at timestamptz, ended_at timestamptz,
               workflow text, workflow_step text, workflow_state jsonb, first_message_at timestamptz, subject text)
          join public.conversations c on c.id = s.conversation_id and c.workspace_id = import_sessions.workspace_id
        on conflict do nothing
        returning id, contact_id, created_at
    ), linked as (
        -- The link to the contact's first session is set once.
        update public.contacts k
           set session_id = f.id
          from (select distinct on (n.contact_id) n.contact_id, n.id from new n order by n.contact_id, n.created_at, n.id) f
         where k.id = f.contact_id
           and k.session_id is null
    )
    select array_agg(n.id) into new_ids from new n;
    insert into public.tags (workspace_id, session_id, name)
    select distinct import_sessions.workspace_id, own.id, t.name
      from jsonb_to_recordset(sessions) s (id uuid, tags jsonb)
     cross join jsonb_array_elements_text(s.tags) as t (name)
      join public.sessions own on own.id = s.id and own.workspace_id = import_sessions.workspace_id
    on conflict do nothing;
    return coalesce(new_ids, '{}'::uuid[]);
end;
$$;
comment on function private.import_sessions is 'Stores imported sessions, which have ended, with their tags; a contact without a session is linked to its first. The ids of the new ones.';

create function private.import_messages(workspace_id uuid, source text, turns jsonb, messages jsonb, new_sessions uuid[])
    returns uuid[] language plpgsql set search_path = ''
as $$
declare
    turned  uuid[];
    changed uuid[];
    known   uuid[];
begin
    with new as (
        insert into public.turns (
               id, workspace_id, conversation_id, session_id, client_message_id, status, deadline, lease_until, first_token_ms, usage,
               error_code, created_at, finished_at, taken_over, retry_of, fallback_persona_id)
        select t.id, s.workspace_id, s.conversation_id, s.id, t.client_message_id, t.status, t.finished_at, t.finished_at, t.first_token_ms,
               t.usage, t.error_code, t.created_at, t.finished_at, t.taken_over, t.retry_of,
               private.persona_named(s.workspace_id, t.fallback_persona)
          from jsonb_to_recordset(turns) t (
               id uuid, session_id uuid, client_message_id text, status public.turn_status, first_token_ms integer, usage jsonb,
               error_code text, created_at timestamptz, finished_at timestamptz, taken_over boolean, retry_of uuid,
               fallback_persona text)
          join public.sessions s on s.id = t.session_id and s.workspace_id = import_messages.workspace_id
        on conflict do nothing
        returning session_id
    )
    select coalesce(array_agg(n.session_id), '{}'::uuid[]) into turned from new n;

    with item as materialized (
        select m.*, k.contact_id as sender_id,
               -- In a group that stays, what an erased person said there.
               k.contact_id is null and m.contact is not null and private.refuse_erased(
                   jsonb_build_array(jsonb_build_object('kind', 'import', 'key', source || ':' || m.contact)), m.created_at, null) as erased
          from jsonb_to_recordset(messages) m (
               id uuid, session_id uuid, turn_id uuid, role public.message_role, contact text, user_id uuid, persona text,
               member_id uuid, text text, partial boolean, metadata jsonb, created_at timestamptz, client_message_id text, speaker text,
               changed_at timestamptz)
          left join private.imported_contacts(import_messages.workspace_id, import_messages.source, array(
                        select distinct e.value ->> 'contact' from jsonb_array_elements(messages) e where e.value ->> 'contact' is not null)) k
            on k.external_id = m.contact
    ), new as (
        insert into public.messages (
               id, workspace_id, conversation_id, session_id, turn_id, role, contact_id, user_id, persona_id, text, partial, metadata,
               created_at, client_message_id, speaker, changed_at)
        select i.id, s.workspace_id, s.conversation_id, s.id, i.turn_id, i.role,
               case when i.role = 'contact' then coalesce(i.sender_id, s.contact_id) end,
               case when i.role in ('member', 'user') then private.imported_user(s.workspace_id, i.member_id, i.user_id) end,
               case when i.role = 'persona'
                    then coalesce(case when i.persona is not null then private.persona_named(s.workspace_id, i.persona) end, s.persona_id) end,
               case when i.erased then '[erased]' else i.text end, i.partial, case when i.erased then '{}' else i.metadata end, i.created_at,
               case when not i.erased then i.client_message_id end, case when not i.erased then i.speaker end, i.changed_at
          from item i
         -- Looked up, however many sessions there are: a batch is taken for more rows than it has.
         cross join lateral (select o.id, o.workspace_id, o.conversation_id, o.contact_id, o.persona_id
                               from public.sessions o
                              where o.id = i.session_id
                                and o.workspace_id = import_messages.workspace_id
                             offset 0) s
          left join private.emptied_until(array(select distinct d.session_id from item d)) e on e.session_id = i.session_id
         -- What was imported, and dropped by the archive or deleted by the retention since, is not imported again.
         where i.id <> all ((select private.archived_ids(array(select distinct d.session_id from item d)))::uuid[])
           and (e.until is null or i.created_at > e.until)
        on conflict do nothing
        returning session_id
    )
    select coalesce(array_agg(n.session_id), '{}'::uuid[]) into changed from new n;
    -- Sessions that were imported before have more messages now.
    known := array(select c.id from (select distinct unnest(changed || turned) as id) c where c.id <> all (new_sessions));
    update public.sessions s
       set message_count = s.message_count + n.messages, turn_count = s.turn_count + n.turns,
           last_activity_at = greatest(s.last_activity_at, n.latest), ended_at = greatest(s.ended_at, n.latest)
      from (select c.id, (select max(m.created_at) from public.messages m where m.session_id = c.id) as latest,
                   sum(c.messages)::integer as messages, sum(c.turns)::integer as turns
              from (select m.id, 1 as messages, 0 as turns from unnest(changed) m (id)
                     union all
                    select t.id, 0, 1 from unnest(turned) t (id)) c
             where c.id = any (known)
             group by c.id) n
     where s.id = n.id
       and s.id = any (known);
    return changed || turned;
end;
$$;
comment on function private.import_messages is 'Stores imported turns and messages with their times and authors, those of erased people in groups without their words; no event, job or limit follows from them. The sessions of the new turns and messages, once for each.';

create function private.import_attachments(workspace_id uuid, attachments jsonb)
    returns void language sql set search_path = ''
as $$
    insert into public.attachments (message_id, place, workspace_id, conversation_id, kind, external_id, url, media_type, size, name)
    select m.id, a.place, m.workspace_id, m.conversation_id, a.kind, a.external_id, a.url, a.media_type, a.size, a.name
      from jsonb_to_recordset(attachments) a (
           message_id uuid, place integer, kind text, external_id text, url text, media_type text, size bigint, name text)
      join public.messages m on m.id = a.message_id and m.workspace_id = import_attachments.workspace_id and m.text <> '[erased]'
    on conflict do nothing;
$$;
comment on function private.import_attachments is 'Stores the attachments of imported messages: references to files that their provider keeps.';

create function private.import_workflows(workspace_id uuid, document jsonb, new_sessions uuid[])
    returns void language plpgsql set search_path = ''
as $$
begin
    insert into public.requests (id, workspace_id, session_id, origin, destination, departs_at, passengers, details, created_at, updated_at)
    select r.id, import_workflows.workspace_id, r.session_id, r.origin, r.destination, r.departs_at, r.passengers, r.details, r.created_at, r.updated_at
      from jsonb_populate_recordset(null::public.requests, document -> 'requests') r
     where r.session_id = any (new_sessions)
    on conflict do nothing;
    insert into public.quotes (
           id, workspace_id, request_id, session_id, operator_key, operator, external_id, status, amount, currency, aircraft_type, late,
           details, created_at, updated_at, received_at)
    select q.id, import_workflows.workspace_id, q.request_id, q.session_id, q.operator_key, q.operator, q.external_id, q.status, q.amount,
           q.currency, q.aircraft_type, q.late, q.details, q.created_at, q.updated_at, q.received_at
      from jsonb_populate_recordset(null::public.quotes, document -> 'quotes') q
     cross join lateral (select
                           from public.requests r
                          where r.id = q.request_id
                            and r.workspace_id = import_workflows.workspace_id
                         offset 0) r
     where q.session_id = any (new_sessions)
    on conflict do nothing;
    insert into public.proposals (
           id, workspace_id, request_id, session_id, quote_id, status, title, details, created_at, updated_at, amount, currency, text)
    select p.id, import_workflows.workspace_id, p.request_id, p.session_id,
           (select q.id from public.quotes q where q.id = p.quote_id and q.workspace_id = import_workflows.workspace_id),
           p.status, p.title, p.details, p.created_at, p.updated_at, p.amount, p.currency, p.text
      from jsonb_populate_recordset(null::public.proposals, document -> 'proposals') p
     cross join lateral (select
                           from public.requests r
                          where r.id = p.request_id
                            and r.workspace_id = import_workflows.workspace_id
                         offset 0) r
     where p.session_id = any (new_sessions)
    on conflict do nothing;
    insert into public.session_refs (id, workspace_id, session_id, system, kind, external_id, created_at)
    select r.id, import_workflows.workspace_id, r.session_id, r.system, r.kind, r.external_id, r.created_at
      from jsonb_populate_recordset(null::public.session_refs, document -> 'refs') r
     where r.session_id = any (new_sessions)
    on conflict do nothing;
    insert into public.workflow_steps (id, workspace_id, session_id, workflow, from_step, to_step, actor_id, created_at)
    select w.id, import_workflows.workspace_id, w.session_id, w.workflow, w.from_step, w.to_step, w.actor_id, w.created_at
      from jsonb_populate_recordset(null::public.workflow_steps, document -> 'steps') w
     where w.session_id = any (new_sessions)
    on conflict do nothing;
    insert into public.session_reasons (id, workspace_id, session_id, status, reason, created_at)
    select r.id, import_workflows.workspace_id, r.session_id, r.status, r.reason, r.created_at
      from jsonb_populate_recordset(null::public.session_reasons, document -> 'reasons') r
     where r.session_id = any (new_sessions)
    on conflict do nothing;
    update public.sessions s
       set request_id       = (select r.id from public.requests r where r.id = w.request_id and r.workspace_id = s.workspace_id),
           primary_quote_id = (select q.id from public.quotes q where q.id = w.primary_quote_id and q.workspace_id = s.workspace_id),
           proposal_id      = (select p.id from public.proposals p where p.id = w.proposal_id and p.workspace_id = s.workspace_id)
      from jsonb_populate_recordset(null::public.sessions, document -> 'sessions') w
     where s.id = w.id
       and s.id = any (new_sessions)
       and num_nonnulls(w.request_id, w.primary_quote_id, w.proposal_id) > 0;
end;
$$;
comment on function private.import_workflows is 'Stores what new imported sessions work on: requests, quotes, proposals, references, steps, and the reasons for which sessions ended.';

create function private.import_memories(workspace_id uuid, source text, memories jsonb)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    results jsonb;
begin
    perform private.import_personas(workspace_id, array(select m.persona from jsonb_to_recordset(memories) m (persona text)));
    with item as materialized (
        select m.*
          from jsonb_to_recordset(memories) m (
               n integer, id uuid, contact text, conversation_id uuid, persona text, kind text, content text, importance real,
               internal boolean, speaker text, previous_id uuid, superseded_by uuid, valid_from timestamptz, expires_at timestamptz,
               created_at timestamptz)
    ), place as materialized (
        select i.*, k.contact_id, c.id as known_conversation_id,
               private.persona_named(import_memories.workspace_id, i.persona) as persona_id,
               case when i.contact is not null and k.contact_id is null then 'contact_not_found'
                    when i.conversation_id is not null and c.id is null then 'conversation_not_found' end as code
          from item i
          left join private.imported_contacts(import_memories.workspace_id, import_memories.source,
                                              array(select distinct e.contact from item e where e.contact is not null)) k
            on k.external_id = i.contact
          left join public.conversations c on c.id = i.conversation_id and c.workspace_id = import_memories.workspace_id
    ), accepted as materialized (
        -- What was forgotten here since is not remembered again.
        select p.*
          from place p
         where p.code is null
           and not exists (select from public.memory_history h where h.memory_id = p.id offset 0)
    ), new as (
        insert into public.memories (
               id, workspace_id, persona_id, contact_id, conversation_id, kind, content, duplicate_key, importance, internal, speaker,
               previous_id, superseded_by, valid_from, expires_at, created_at)
        select a.id, import_memories.workspace_id, a.persona_id, a.contact_id, a.known_conversation_id, a.kind, a.content,
               case when a.kind <> 'turn' then private.duplicate_key(a.content) end, a.importance, a.internal, a.speaker,
               -- Only of this batch, or of one before.
               coalesce((select o.id from accepted o where o.id = a.previous_id),
                        (select m.id from public.memories m where m.id = a.previous_id and m.workspace_id = import_memories.workspace_id)),
               coalesce((select o.id from accepted o where o.id = a.superseded_by),
                        (select m.id from public.memories m where m.id = a.superseded_by and m.workspace_id = import_memories.workspace_id)),
               coalesce(a.valid_from, a.created_at), a.expires_at, a.created_at
          from accepted a
        on conflict do nothing
        returning id
    )
    select jsonb_agg(jsonb_build_object('n', p.n, 'id', case when p.code is null then p.id end, 'code', p.code,
                                        'status', case when p.code is not null then 'refused'
                                                       when new.id is not null then 'created'
                                                       else 'unchanged' end))
      into results
      from place p
      left join new on new.id = p.id;
    return coalesce(results, '[]');
end;
$$;
comment on function private.import_memories is 'Stores imported memories: those of a contact, of one of its conversations, or of the owner''s side: [{n, id, code, status}].';

create function private.import_rows(workspace_id uuid, source text, document jsonb, persona_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    contacts constant jsonb := private.import_contacts(workspace_id, source, document -> 'contacts');
    placed   constant jsonb := private.import_conversations(workspace_id, source, document -> 'conversations', persona_id);
    opened   uuid[];
    changed  uuid[];
begin
    opened  := private.import_sessions(workspace_id, document -> 'sessions');
    changed := opened || private.import_messages(workspace_id, source, document -> 'turns', document -> 'messages', opened);
    perform private.import_attachments(workspace_id, document -> 'attachments');
    perform private.import_workflows(workspace_id, document, opened);
    return jsonb_build_object(
        'contacts', contacts,
        'memories', private.import_memories(workspace_id, source, document -> 'memories'),
        'conversations', (
            select coalesce(jsonb_agg(jsonb_build_object(
                       'n', p.n, 'id', p.id, 'code', p.code,
                       'status', case when p.code is not null then 'refused'
                                      when p.is_new then 'created'
                                      when p.id = any (touched.ids) then 'updated'
                                      else 'unchanged' end)), '[]')
              from jsonb_to_recordset(placed) p (n integer, id uuid, code text, is_new boolean)
             cross join (select array(select s.conversation_id from public.sessions s where s.id = any (changed)) as ids) touched));
end;
$$;
comment on function private.import_rows is 'Stores a batch, parents first: what became of each item.';

create function public.import_batch(
    workspace_id uuid,
    source       text,
    document     jsonb,
    persona_id   uuid    default null,
    dry_run      boolean default false
)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_to_manage('workspace', workspace_id, 'admin');
    results   jsonb;
begin
    if persona_id is not null and not exists (select
                                                from public.personas p
                                               where p.id = import_batch.persona_id
                                                 and p.workspace_id = workspace) then
        raise sqlstate 'PT404' using message = 'persona_not_found';
    end if;
    -- The triggers that write events do not run for the rows of this transaction.
    perform set_config('switchboard.importing', 'true', true);
    begin
        results := private.import_rows(workspace, source, document, persona_id);
        if dry_run then
            raise sqlstate 'SB001';
        end if;
        perform private.record_change(workspace, 'workspace.imported', workspace, source);
    exception when sqlstate 'SB001' then
        -- Rolled back: the results say what would become of each item.
        null;
    when data_exception or integrity_constraint_violation then
        raise sqlstate 'PT422' using message = 'invalid_body', detail = 'import_row_invalid';
    end;
    return results;
end;
$$;
comment on function public.import_batch is 'Stores contacts and conversations of a source, all in one transaction: {contacts, conversations, memories: [{n, id, status, code}]}. dry_run: stores nothing. document has the rows of each table as lib/imports/batches.py writes them. Owners and admins.';

grant execute on function
    private.import_personas, private.persona_named, private.imported_user, private.import_conversations,
    private.import_sessions, private.import_messages, private.import_attachments, private.import_workflows,
    private.import_memories, private.import_rows, public.import_batch
    to switchboard;
