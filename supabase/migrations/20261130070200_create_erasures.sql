-- Generated from supabase/schemas/72_erasures.sql.
set lock_timeout = '5s';
set statement_timeout = '60s';
set check_function_bodies = off;

-- Erasures: a contact is removed from every table, from the queue and from raw deliveries. What is left is a receipt and hashes.

create type public.erasure_status as enum ('running', 'finished');
comment on type public.erasure_status is 'running -> finished: nothing of the contact is left';

create type public.erasure_step as enum ('deliveries', 'jobs', 'groups', 'messages', 'sessions', 'contacts', 'archives');
comment on type public.erasure_step is 'deliveries -> jobs -> groups -> messages -> sessions -> contacts -> archives: what is erased next. What tells that a row is the contact''s goes last.';

create table public.erasures (
    id             uuid                  not null default private.uuid7(),
    workspace_id   uuid                  not null,
    contact_id     uuid                  not null,
    contact_ids    uuid[]                not null,
    requested_by   uuid,
    requester_kind text                  not null default private.calling_kind(),
    created_at   timestamptz           not null default clock_timestamp(),
    status         public.erasure_status not null default 'running',
    step           public.erasure_step   not null default 'deliveries',
    place_at       timestamptz           not null default '-infinity',
    place_id       uuid                  not null default '00000000-0000-0000-0000-000000000000',
    counts         jsonb                 not null default '{}',
    finished_at    timestamptz,
    constraint erasures_pkey              primary key (id),
    constraint erasures_workspace_key     unique (workspace_id, id),
    constraint erasures_workspace_id_fkey foreign key (workspace_id) references public.workspaces (id) on delete cascade,
    constraint erasures_contact_ids       check (contact_ids @> array[contact_id]),
    constraint erasures_counts_object     check (jsonb_typeof(counts) = 'object'),
    constraint erasures_finished          check ((status = 'finished') = (finished_at is not null))
);
comment on table public.erasures is 'The receipt of an erasure: ids, times and counts.';
comment on column public.erasures.contact_ids is 'The contact and all that were merged with it.';
comment on column public.erasures.requested_by is 'The user or API key that asked for it; null for an operator''s command.';
comment on column public.erasures.created_at is 'What was sent before this moment is refused.';
comment on column public.erasures.place_at is 'How far the step came, with place_id: the last row that was looked at.';
comment on column public.erasures.counts is 'Erased rows by place; in groups: messages without their text and sender.';
alter table public.erasures enable row level security;
create index erasures_newest_idx on public.erasures (workspace_id, created_at, id);
create index erasures_contact_ids_idx on public.erasures using gin (contact_ids);
create index erasures_running_idx on public.erasures (created_at) where status = 'running';

create table private.erasure_salts (
    workspace_id uuid  not null,
    salt         bytea not null default decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex'),
    constraint erasure_salts_pkey              primary key (workspace_id),
    constraint erasure_salts_workspace_id_fkey foreign key (workspace_id) references public.workspaces (id) on delete cascade
);
comment on table private.erasure_salts is 'What is hashed with the identities of a workspace''s erased contacts.';
alter table private.erasure_salts enable row level security;

create table private.tombstones (
    erasure_id   uuid        not null,
    hash         bytea       not null,
    workspace_id uuid        not null,
    erased_at    timestamptz not null,
    constraint tombstones_pkey            primary key (erasure_id, hash),
    constraint tombstones_erasure_id_fkey foreign key (workspace_id, erasure_id) references public.erasures (workspace_id, id) on delete cascade
);
comment on table private.tombstones is 'Salted hashes of an erased contact''s identities, as kind:key and as the words by which a delivery names them.';
alter table private.tombstones enable row level security;
create index tombstones_hash_idx on private.tombstones (workspace_id, hash, erased_at);

create table private.erase_rules (
    relation text not null,
    rule     text not null,
    detail   text not null,
    constraint erase_rules_pkey primary key (relation),
    constraint erase_rules_rule check (rule in ('cascade', 'deleted', 'searched', 'anonymised', 'expires', 'nothing')),
    constraint erase_rules_text check (relation ~ '^(public|private)\.[a-z_]+$' and detail <> '')
);
comment on table private.erase_rules is 'How each table loses what it holds of an erased contact. cascade: with a row that it refers to; deleted: by a statement of its own; searched: rows that name the contact are found and deleted; anonymised: other people''s rows lose its part; expires: hashes and ids that are gone within a day; nothing: it holds nothing of a contact.';
alter table private.erase_rules enable row level security;

insert into private.erase_rules (relation, rule, detail) values
    ('public.workspaces',                'nothing',    'Settings.'),
    ('public.workspace_members',         'nothing',    'Members.'),
    ('public.invitations',               'nothing',    'The email of a member to be; deleted 30 days after it expired.'),
    ('public.api_keys',                  'nothing',    'Machines.'),
    ('public.personas',                  'nothing',    'Settings.'),
    ('public.persona_breakers',          'nothing',    'Counts, and the id of a turn.'),
    ('public.spaces',                    'nothing',    'Settings.'),
    ('public.channels',                  'nothing',    'Settings.'),
    ('public.session_templates',         'nothing',    'Settings.'),
    ('public.answer_templates',          'nothing',    'Settings.'),
    ('public.workflow_transitions',      'nothing',    'Settings.'),
    ('public.event_subscriptions',       'nothing',    'Settings.'),
    ('public.rate_limits',               'deleted',    'Ids and hashed addresses; pruned after a day.'),
    ('public.contacts',                  'deleted',    'The contact and all that were merged with it.'),
    ('public.contact_identities',        'deleted',    'First of all, so that who returns is a new contact.'),
    ('public.group_participants',        'cascade',    'With the person, or with the group.'),
    ('public.contact_merges',            'cascade',    'With either contact, undone ones too.'),
    ('public.contact_moves',             'cascade',    'With their merge.'),
    ('public.contact_conflicts',         'cascade',    'With either contact.'),
    ('public.tags',                      'cascade',    'With the contact or the session.'),
    ('public.conversations',             'cascade',    'With the contact.'),
    ('public.conversation_reads',        'cascade',    'With the conversation.'),
    ('public.sessions',                  'deleted',    'In batches.'),
    ('public.session_reasons',           'cascade',    'With the session.'),
    ('public.session_refs',              'cascade',    'With the session.'),
    ('public.workflow_steps',            'cascade',    'With the session.'),
    ('public.requests',                  'cascade',    'With the session.'),
    ('public.quotes',                    'cascade',    'With the session.'),
    ('public.proposals',                 'cascade',    'With the session.'),
    ('public.turns',                     'anonymised', 'Own ones go with the session; those of a group lose the provider''s id of the message.'),
    ('public.turn_chunks',               'cascade',    'With the turn.'),
    ('public.turn_errors',               'anonymised', 'Own ones go with the turn; so do those of turns that a message in a group started.'),
    ('public.messages',                  'anonymised', 'Own ones are deleted in batches; those in groups lose text, sender and metadata.'),
    ('public.message_deliveries',        'cascade',    'With the message.'),
    ('public.attachments',               'anonymised', 'With the message; also those of messages in groups.'),
    ('public.device_links',              'deleted',    'Of the devices that the contact wears.'),
    ('public.device_sessions',           'deleted',    'With the conversation; those without one by the device.'),
    ('public.inbound_events',            'searched',   'Deliveries that name an identity or an own row, once their jobs have ended.'),
    ('public.jobs',                      'searched',   'Waiting ones at once, then all that name an own row, and those of deleted deliveries.'),
    ('public.events',                    'deleted',    'With the contact; those of groups by the message.'),
    ('public.event_deliveries',          'cascade',    'With the event.'),
    ('public.memories',                  'cascade',    'With the contact, or with who said it in a group; also what repeats an erased message.'),
    ('public.memory_embeddings',         'cascade',    'With the memory; the vectors of the turns before and after it are made anew.'),
    ('public.memories_to_embed',         'cascade',    'With the memory.'),
    ('public.memory_history',            'cascade',    'As the memories; those of erased memories are deleted.'),
    ('public.turn_memories',             'cascade',    'With the turn or the memory.'),
    ('public.import_refs',               'cascade',    'With the contact or the conversation.'),
    ('public.exports',                   'deleted',    'All exports of the workspace, with their files.'),
    ('public.archive_queue',             'cascade',    'With the session.'),
    ('public.archive_objects',           'deleted',    'Objects are written anew without the contact, verified, and the old ones deleted with all versions.'),
    ('public.session_archives',          'deleted',    'With the object that is deleted.'),
    ('private.archived_message_ids',     'deleted',    'With the session. Of messages in groups only the id stays, by which a repeated import knows them.'),
    ('private.emptied_sessions',         'cascade',    'With the session.'),
    ('public.session_stats_daily',       'nothing',    'Counts; the days are counted again without the contact.'),
    ('public.retention_settings',        'nothing',    'Settings.'),
    ('private.retention_runs',           'nothing',    'Counts and times.'),
    ('public.audit_events',              'nothing',    'Ids and verbs only.'),
    ('public.erasures',                  'nothing',    'Ids, times and counts.'),
    ('private.erasure_salts',            'nothing',    'Random bytes.'),
    ('private.tombstones',               'nothing',    'Salted hashes.'),
    ('private.erase_rules',              'nothing',    'This table.'),
    ('private.retired_secrets',          'nothing',    'Ids of secrets.'),
    ('private.session_stats_marks',      'expires',    'Ids, until the day is counted.'),
    ('private.sweeps',                   'nothing',    'Times.'),
    ('private.wakes',                    'nothing',    'Times.'),
    ('private.reads',                    'expires',    'Ids of conversations and users.'),
    ('private.presences',                'nothing',    'Ids of conversations and members, for a day at most.'),
    ('private.open_streams',             'expires',    'Ids and hashed addresses, until the stream ends.');

create function private.tombstone(workspace_id uuid, word text)
    returns bytea language sql stable set search_path = ''
as $$
    select sha256(s.salt || convert_to(word, 'UTF8')) from private.erasure_salts s where s.workspace_id = tombstone.workspace_id;
$$;
comment on function private.tombstone is 'The hash of a word in a workspace; null if nothing was erased there.';

create function private.erased_by(workspace_id uuid, identities jsonb, moment timestamptz)
    returns uuid language plpgsql stable security definer set search_path = ''
as $$
begin
    -- A workspace without an erasure costs one look-up.
    if moment is null or not exists (select from private.erasure_salts s where s.workspace_id = erased_by.workspace_id) then
        return null;
    end if;
    return (select t.erasure_id
              from jsonb_array_elements(identities) i
              join private.tombstones t
                on t.workspace_id = erased_by.workspace_id
               and t.hash = private.tombstone(t.workspace_id, (i.value ->> 'kind') || ':' || (i.value ->> 'key'))
             where t.erased_at > moment
             order by t.erased_at desc
             limit 1);
end;
$$;
comment on function private.erased_by is 'The erasure after the given moment of a contact with one of these identities [{kind, key}]; null without one.';

create function private.erasure_of(contact_id uuid)
    returns uuid language plpgsql stable security definer set search_path = ''
as $$
begin
    return (select e.id from public.erasures e where e.contact_ids @> array[erasure_of.contact_id] order by e.created_at desc limit 1);
end;
$$;
comment on function private.erasure_of is 'The erasure of a contact; null without one.';

create function private.count_contact_rows(contact_ids uuid[])
    returns jsonb language sql stable set search_path = ''
as $$
    with own as materialized (
        select c.id from public.conversations c where c.contact_id = any (contact_ids)
    ), episodes as materialized (
        select s.id from public.sessions s where s.conversation_id in (select o.id from own o) or s.contact_id = any (contact_ids)
    ), merges as (
        select m.id from public.contact_merges m where m.contact_id = any (contact_ids) or m.into_id = any (contact_ids)
    )
    select jsonb_build_object(
        'contacts',           (select count(*) from public.contacts r where r.id = any (contact_ids)),
        'contact_identities', (select count(*) from public.contact_identities r where r.contact_id = any (contact_ids)),
        'group_participants', (select count(*) from public.group_participants r
                                where r.contact_id = any (contact_ids) or r.group_id = any (contact_ids)),
        'contact_merges',     (select count(*) from merges),
        'contact_moves',      (select count(*) from public.contact_moves r where r.merge_id in (select m.id from merges m)),
        'contact_conflicts',  (select count(*) from public.contact_conflicts r
                                where r.contact_id = any (contact_ids) or r.other_contact_id = any (contact_ids)),
        'tags',               (select count(*) from public.tags r
                                where r.contact_id = any (contact_ids) or r.session_id in (select e.id from episodes e)),
        'conversations',      (select count(*) from own),
        'sessions',           (select count(*) from episodes),
        'session_reasons',    (select count(*) from public.session_reasons r where r.session_id in (select e.id from episodes e)),
        'session_refs',       (select count(*) from public.session_refs r where r.session_id in (select e.id from episodes e)),
        'workflow_steps',     (select count(*) from public.workflow_steps r where r.session_id in (select e.id from episodes e)),
        'requests',           (select count(*) from public.requests r where r.session_id in (select e.id from episodes e)),
        'quotes',             (select count(*) from public.quotes r where r.session_id in (select e.id from episodes e)),
        'proposals',          (select count(*) from public.proposals r where r.session_id in (select e.id from episodes e)),
        'turns',              (select count(*) from public.turns r where r.session_id in (select e.id from episodes e)),
        'messages',           (select count(*) from public.messages r where r.conversation_id in (select o.id from own o)),
        'group_messages',     (select count(*) from public.messages r
                                where r.contact_id = any (contact_ids) and r.conversation_id not in (select o.id from own o)),
        'attachments',        (select count(*) from public.attachments r join public.messages m on m.id = r.message_id
                                where r.conversation_id in (select o.id from own o) or m.contact_id = any (contact_ids)),
        'message_deliveries', (select count(*) from public.message_deliveries r where r.conversation_id in (select o.id from own o)),
        'device_sessions',    (select count(*) from public.device_sessions r where r.conversation_id in (select o.id from own o)),
        'memories',           (select count(*) from public.memories r where r.contact_id = any (contact_ids) or r.sender_id = any (contact_ids)),
        'memory_history',     (select count(*) from public.memory_history r where r.contact_id = any (contact_ids) or r.sender_id = any (contact_ids)),
        'import_refs',        (select count(*) from public.import_refs r
                                where r.contact_id = any (contact_ids) or r.conversation_id in (select o.id from own o)),
        'events',             (select count(*) from public.events r where r.contact_id = any (contact_ids)));
$$;
comment on function private.count_contact_rows is 'How many rows each table holds of contacts: {place: count}.';

create function private.describe_erasure(erasure_id uuid)
    returns jsonb language sql stable set search_path = ''
as $$
    select jsonb_build_object('id', e.id, 'workspace_id', e.workspace_id, 'contact_id', e.contact_id, 'contact_ids', e.contact_ids,
                              'requested_by', e.requested_by, 'requester_kind', e.requester_kind, 'created_at', e.created_at,
                              'status', e.status, 'step', e.step, 'counts', e.counts, 'finished_at', e.finished_at)
      from public.erasures e
     where e.id = describe_erasure.erasure_id;
$$;
comment on function private.describe_erasure is 'The receipt of an erasure.';

create function public.erase_contact(contact_id uuid, last_try boolean default false)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    known   constant uuid := private.erasure_of(contact_id);
    erasure uuid;
begin
    if known is not null then
        begin
            perform private.enter_to_manage('erasure', known, 'admin');
        exception when sqlstate 'PT404' then
            raise sqlstate 'PT404' using message = 'contact_not_found';
        end;
        return jsonb_build_object('stopping', false, 'erasure', private.describe_erasure(known));
    end if;
    perform private.enter_to_manage('contact', contact_id, 'admin');
    erasure := private.begin_erasure(contact_id, last_try);
    return jsonb_build_object('stopping', erasure is null, 'erasure', private.describe_erasure(erasure));
end;
$$;
comment on function public.erase_contact is 'Begins to erase a contact and all that was merged with it: {stopping, erasure}. stopping: a turn is being stopped, call again; last_try: it ends by force. A repeat returns the receipt. Owners and admins.';

create function public.continue_erasure(erasure_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    waiting boolean;
begin
    perform private.enter_workspace(private.workspace_of('erasure', erasure_id));
    waiting := private.take_erasure_step(erasure_id);
    return jsonb_build_object('waiting', waiting, 'erasure', private.describe_erasure(erasure_id));
end;
$$;
comment on function public.continue_erasure is 'Erases the next batch: {waiting, erasure}. Call it until the status is finished; waiting: jobs of their own erase the rest, call it later. Repeatable.';

create function private.examine_erasure(erasure_id uuid, after uuid)
    returns jsonb language plpgsql stable security definer set search_path = ''
as $$
declare
    batch   constant integer := 200;
    erasure public.erasures;
    looked  uuid[];
begin
    select e.* into strict erasure
      from public.erasures e
     where e.id = examine_erasure.erasure_id
       and e.workspace_id = private.entered_workspace();
    looked := array(select e.id from public.inbound_events e
                     where e.workspace_id = erasure.workspace_id and e.id > after order by e.id limit batch);
    return jsonb_build_object(
        'left', (case when after = '00000000-0000-0000-0000-000000000000' then private.count_contact_rows(erasure.contact_ids) else '{}' end)
            || jsonb_build_object('jobs', private.has_erasure_jobs(erasure)::integer, 'inbound_events', (
                   select count(*) from public.inbound_events e
                    where e.id = any (looked)
                      and e.received_at <= erasure.created_at
                      and private.names_contact(erasure, concat_ws(' ', e.raw_body, e.headers::text, e.delivery_key))))
            || case when after = '00000000-0000-0000-0000-000000000000' then jsonb_build_object('identities', (
                   select count(*) from public.contact_identities i
                    where i.workspace_id = erasure.workspace_id
                      and i.created_at <= erasure.created_at
                      and private.tombstone(i.workspace_id, i.kind || ':' || i.key) in (
                              select t.hash from private.tombstones t where t.erasure_id = erasure.id))) else '{}' end,
        'next', case when cardinality(looked) = batch then looked[batch] end);
end;
$$;
comment on function private.examine_erasure is 'What is left of an erased contact: {left {place: count}, next}. The deliveries are searched in batches, after a place.';

create function public.check_erasure(erasure_id uuid, after uuid default '00000000-0000-0000-0000-000000000000')
    returns jsonb language plpgsql set search_path = ''
as $$
begin
    perform private.enter_to_manage('erasure', erasure_id, 'admin');
    return private.examine_erasure(erasure_id, after);
end;
$$;
comment on function public.check_erasure is 'Counts again what is left of an erased contact: {left {place: count}, next}. next: call again after this place. Owners and admins.';

grant execute on function
    private.erasure_of, private.describe_erasure, private.examine_erasure, public.erase_contact, public.check_erasure,
    public.continue_erasure
    to service_role, switchboard;
