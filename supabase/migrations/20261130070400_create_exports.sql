-- Generated from supabase/schemas/74_exports.sql.
set lock_timeout = '5s';
set statement_timeout = '60s';
set check_function_bodies = off;

-- Exports: files with everything of a contact, a session or a workspace. A job of the archive function makes each, in pages of
-- rows of one kind.

create type public.export_status as enum ('queued', 'stored', 'failed');
comment on type public.export_status is 'queued -> stored | failed; failed -> queued (its job is replayed). The row is deleted with its file, a day later.';

create table public.exports (
    id           uuid                 not null default private.uuid7(),
    workspace_id uuid                 not null,
    contact_id   uuid,
    session_id   uuid,
    status       public.export_status not null default 'queued',
    requested_by uuid,
    counts       jsonb                not null default '{}',
    size_bytes   bigint,
    sha256       text,
    error        text,
    created_at   timestamptz          not null default now(),
    finished_at  timestamptz,
    expires_at   timestamptz          not null default now() + interval '1 day',
    constraint exports_pkey     primary key (id),
    constraint exports_of_one   check (num_nonnulls(contact_id, session_id) <= 1),
    constraint exports_stored   check ((status = 'stored') = (size_bytes is not null and sha256 is not null)),
    constraint exports_finished check ((status = 'queued') = (finished_at is null))
);
comment on table public.exports is 'A file with everything of a contact, a session or a workspace. The row outlives what it names, its workspace too, until the file is deleted from the object store.';
comment on column public.exports.contact_id is 'The contact whose data it holds; with session_id null too: the whole workspace.';
comment on column public.exports.counts is 'The rows of each kind, as far as they are written.';
comment on column public.exports.requested_by is 'The user or API key; null: an operator''s command.';
comment on column public.exports.expires_at is 'When the file is deleted.';
alter table public.exports enable row level security;
create index exports_newest_idx on public.exports (workspace_id, created_at, id);
create index exports_contact_id_idx on public.exports (contact_id) where contact_id is not null;
create index exports_session_id_idx on public.exports (session_id) where session_id is not null;
create index exports_expires_at_idx on public.exports (expires_at);

create function private.queue_export(workspace_id uuid, contact_id uuid, session_id uuid, fresh boolean)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    export public.exports;
begin
    -- Of two calls at once one queues the export.
    perform pg_advisory_xact_lock(hashtextextended('switchboard.export.' || coalesce(contact_id, session_id, workspace_id)::text, 0));
    select e.* into export
      from public.exports e
     where e.workspace_id = queue_export.workspace_id
       and e.contact_id is not distinct from queue_export.contact_id
       and e.session_id is not distinct from queue_export.session_id
       and e.expires_at > now()
       and (e.status = 'queued' or (e.status = 'stored' and not fresh))
     order by e.created_at desc, e.id desc
     limit 1;
    if not found then
        insert into public.exports (workspace_id, contact_id, session_id, requested_by)
        values (queue_export.workspace_id, queue_export.contact_id, queue_export.session_id, private.calling_user())
        returning * into export;
        insert into public.jobs (workspace_id, kind, runs_in, payload, max_attempts)
        values (queue_export.workspace_id, 'make_export', 'archive', jsonb_build_object('export_id', export.id), 5);
        perform private.record_change(queue_export.workspace_id, 'export.requested', coalesce(contact_id, session_id, queue_export.workspace_id));
    end if;
    return to_jsonb(export);
end;
$$;
comment on function private.queue_export is 'The export that is under way or still there, else a new one with its job. fresh: a stored one does not do.';

create function public.request_export(workspace_id uuid default null, contact_id uuid default null)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_to_manage(
                  case when contact_id is null then 'workspace' else 'contact' end, coalesce(contact_id, workspace_id), 'admin');
    standing  constant uuid := private.merge_target(contact_id);
begin
    if standing <> contact_id then
        raise sqlstate 'PT307' using message = 'contact_merged', hint = standing::text;
    end if;
    return private.queue_export(workspace, contact_id, null, contact_id is null);
end;
$$;
comment on function public.request_export is 'An export of a contact, which may have been made in the last day, or a new one of a workspace. Owners and admins.';

create function public.request_session_export(session_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
begin
    perform private.enter_session_to_work_on(session_id);
    return private.queue_export(private.entered_workspace(), null, session_id, false);
end;
$$;
comment on function public.request_session_export is 'An export of a session, for the members who work on it.';

create function public.begin_export(export_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    export public.exports;
begin
    perform private.enter();
    select e.* into export from public.exports e where e.id = export_id and e.expires_at > now();
    if not found then
        raise sqlstate 'PT404' using message = 'export_not_found';
    end if;
    return to_jsonb(export);
end;
$$;
comment on function public.begin_export is 'What an export''s job is to write; at work.';

create function public.record_export(export_id uuid, counts jsonb, size_bytes bigint default null, sha256 text default null)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    export public.exports;
begin
    perform private.enter();
    update public.exports e
       set counts      = record_export.counts,
           size_bytes  = record_export.size_bytes,
           sha256      = record_export.sha256,
           status      = case when record_export.size_bytes is null then e.status else 'stored' end,
           error       = null,
           finished_at = case when record_export.size_bytes is not null then clock_timestamp() else e.finished_at end,
           expires_at  = now() + interval '1 day'
     where e.id = export_id
       and e.status <> 'stored'
       and e.expires_at > now()
    returning e.* into export;
    if not found then
        raise sqlstate 'PT404' using message = 'export_not_found';
    end if;
    return to_jsonb(export);
end;
$$;
comment on function public.record_export is 'Stores how far an export is, and with a size and a hash that its file is stored. Refuses one that is stored, or gone: the file is not wanted.';

create function private.end_export()
    returns trigger language plpgsql set search_path = ''
as $$
begin
    update public.exports e
       set status      = case when new.status = 'queued' then 'queued' else 'failed' end::public.export_status,
           error       = new.last_error,
           finished_at = new.finished_at
     where e.id = (new.payload ->> 'export_id')::uuid
       and e.workspace_id = new.workspace_id
       and e.status <> 'stored';
    return null;
end;
$$;
comment on function private.end_export is 'Trigger: an export fails with its job, and is queued again when that is replayed.';

create trigger jobs_end_export after update of status on public.jobs
    for each row when (new.kind = 'make_export' and (new.status in ('dead', 'discarded') or old.status in ('dead', 'discarded')))
    execute function private.end_export();

create function private.expired_exports(max_exports integer)
    returns table (id uuid, workspace_id uuid) language plpgsql stable security definer set search_path = ''
as $$
begin
    perform private.require_system();
    return query select e.id, e.workspace_id from public.exports e where e.expires_at <= now() order by e.expires_at limit max_exports;
end;
$$;
comment on function private.expired_exports is 'The exports of any workspace whose time is over.';

create function public.list_expired_exports(max_exports integer default 100)
    returns jsonb language sql set search_path = ''
as $$
    select jsonb_build_object('exports', coalesce(jsonb_agg(jsonb_build_object('id', e.id, 'workspace_id', e.workspace_id)), '[]'))
      from private.expired_exports(max_exports) e;
$$;
comment on function public.list_expired_exports is 'The exports whose files are to be deleted: {exports: [{id, workspace_id}]}; system scope only.';

create function public.remove_export(export_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
begin
    perform private.enter();
    delete from public.exports e where e.id = export_id and e.expires_at <= now();
    return jsonb_build_object('removed', found);
end;
$$;
comment on function public.remove_export is 'Forgets an expired export after its file was deleted.';

create function private.expire_exports(workspace_id uuid)
    returns void language sql set search_path = ''
as $$
    update public.exports e
       set expires_at = now(), contact_id = null, session_id = null, counts = '{}'
     where e.workspace_id = expire_exports.workspace_id
       and e.expires_at > now();
$$;
comment on function private.expire_exports is 'Has the files of all exports of a workspace deleted, because a contact that they may hold is erased; a file that is being written is not stored.';

create function private.exported_contacts(export public.exports)
    returns uuid[] language sql stable set search_path = ''
as $$
    with recursive merged as (
        select c.id
          from public.contacts c
         where c.id = coalesce(export.contact_id, (select s.contact_id from public.sessions s where s.id = export.session_id))
           and c.workspace_id = export.workspace_id
         union
        select c.id from merged m join public.contacts c on c.merged_into_id = m.id
    )
    select array(select m.id from merged m);
$$;
comment on function private.exported_contacts is 'The contact of an export, with those that were merged into it.';

create function private.exported_workspace_rows(export public.exports, kind text, after uuid, most integer)
    returns setof json language plpgsql stable set search_path = ''
as $$
begin
    case kind
        when 'contacts' then return query
            select row_to_json(c) from public.contacts c
             where c.workspace_id = export.workspace_id and c.id > after and c.created_at <= export.created_at
             order by c.id limit most;
        when 'conversations' then return query
            select row_to_json(c) from public.conversations c
             where c.workspace_id = export.workspace_id and c.id > after and c.created_at <= export.created_at
             order by c.id limit most;
        when 'sessions' then return query
            select row_to_json(s) from public.sessions s
             where s.workspace_id = export.workspace_id and s.id > after and s.created_at <= export.created_at
             order by s.id limit most;
        when 'memories' then return query
            select (to_jsonb(m) - 'words')::json from public.memories m
             where m.workspace_id = export.workspace_id and m.id > after and m.created_at <= export.created_at
             order by m.id limit most;
    end case;
end;
$$;
comment on function private.exported_workspace_rows is 'A page of the rows that are first in a workspace: those that existed when the export was requested.';

create function private.exported_contact_rows(export public.exports, kind text, after uuid, most integer)
    returns setof json language plpgsql stable set search_path = ''
as $$
declare
    own constant uuid[] := private.exported_contacts(export);
begin
    case kind
        when 'contacts' then return query
            select row_to_json(c) from public.contacts c where c.id = any (own) and c.id > after order by c.id limit most;
        when 'conversations' then return query
            select row_to_json(c) from public.conversations c
             where (export.session_id is null and c.contact_id = any (own)
                    or c.id = (select s.conversation_id from public.sessions s where s.id = export.session_id))
               and c.workspace_id = export.workspace_id and c.id > after
             order by c.id limit most;
        when 'sessions' then return query
            select row_to_json(s) from public.sessions s
             where (export.session_id is null and s.contact_id = any (own) or s.id = export.session_id)
               and s.workspace_id = export.workspace_id and s.id > after
             order by s.id limit most;
        when 'memories' then return query
            select (to_jsonb(m) - 'words')::json from public.memories m
             where (export.session_id is null and (m.contact_id = any (own) or m.sender_id = any (own)) or m.session_id = export.session_id)
               and m.workspace_id = export.workspace_id and m.id > after
             order by m.id limit most;
    end case;
end;
$$;
comment on function private.exported_contact_rows is 'As exported_workspace_rows, of a contact or of one session.';

create function private.exported_parts(kind text, parents uuid[])
    returns setof json language plpgsql stable set search_path = ''
as $$
begin
    case kind
        when 'identities' then return query
            select row_to_json(i) from public.contact_identities i where i.contact_id = any (parents) order by i.contact_id, i.id;
        when 'contact_tags' then return query
            select row_to_json(t) from public.tags t where t.contact_id = any (parents) order by t.contact_id, t.name;
        when 'participants' then return query
            select row_to_json(p) from public.group_participants p where p.group_id = any (parents) order by p.group_id, p.contact_id;
        when 'session_tags' then return query
            select row_to_json(t) from public.tags t where t.session_id = any (parents) order by t.session_id, t.name;
        when 'attachments' then return query
            select row_to_json(a)
              from (select m.session_id, f.*
                      from public.messages m
                      join public.attachments f on f.message_id = m.id
                     where m.session_id = any (parents)
                     order by m.session_id, m.created_at, m.id, f.place) a;
        when 'requests' then return query
            select row_to_json(r) from public.requests r where r.session_id = any (parents) order by r.session_id, r.id;
        when 'quotes' then return query
            select row_to_json(q) from public.quotes q where q.session_id = any (parents) order by q.session_id, q.id;
        when 'proposals' then return query
            select row_to_json(p) from public.proposals p where p.session_id = any (parents) order by p.session_id, p.id;
        when 'refs' then return query
            select row_to_json(r) from public.session_refs r where r.session_id = any (parents) order by r.session_id, r.id;
        when 'steps' then return query
            select row_to_json(w) from public.workflow_steps w where w.session_id = any (parents) order by w.session_id, w.created_at, w.id;
        when 'reasons' then return query
            select row_to_json(r) from public.session_reasons r where r.session_id = any (parents) order by r.session_id, r.created_at, r.id;
        when 'archives' then return query
            select json_build_object('session_id', s.id, 'place', private.archive_place(s.id))
              from public.sessions s
              join public.session_archives a on a.session_id = s.id and a.is_current and a.messages_dropped
             where s.id = any (parents) order by s.id;
        when 'personas' then return query
            select json_build_object('id', p.id, 'name', p.name, 'kind', p.kind)
              from public.personas p where p.workspace_id = private.entered_workspace() order by p.id;
        when 'spaces' then return query
            select json_build_object('id', s.id, 'name', s.name, 'kind', s.kind)
              from public.spaces s where s.workspace_id = private.entered_workspace() order by s.id;
    end case;
end;
$$;
comment on function private.exported_parts is 'The rows of contacts or sessions that are exported together, in the order of their parents.';

create function private.exported_talk(kind text, parents uuid[], session_id uuid, after_at timestamptz, after uuid, until timestamptz, most integer)
    returns setof json language plpgsql stable set search_path = ''
as $$
begin
    case kind
        when 'turns' then return query
            select row_to_json(t) from public.turns t
             where t.session_id = any (parents) and t.created_at <= until
               and (t.session_id, t.created_at, t.id) > (exported_talk.session_id, after_at, after)
             order by t.session_id, t.created_at, t.id limit most;
        when 'messages' then return query
            select row_to_json(m) from public.messages m
             where m.session_id = any (parents) and m.created_at <= until
               and (m.session_id, m.created_at, m.id) > (exported_talk.session_id, after_at, after)
             order by m.session_id, m.created_at, m.id limit most;
    end case;
end;
$$;
comment on function private.exported_talk is 'A page of the turns or messages of sessions.';

create function public.read_export_rows(
    export_id uuid,
    kind      text,
    parents   uuid[]  default null,
    after     jsonb   default '{}',
    most      integer default 1000
)
    returns json language plpgsql stable set search_path = ''
as $$
declare
    nil    constant uuid   := '00000000-0000-0000-0000-000000000000'::uuid;
    export public.exports;
begin
    perform private.enter();
    select e.* into export from public.exports e where e.id = export_id;
    if not found then
        raise sqlstate 'PT404' using message = 'export_not_found';
    end if;
    return (select json_build_object('rows', coalesce(json_agg(r.row order by r.place), '[]'::json))
              from (select found.row, found.place
                      from private.exported_workspace_rows(export, kind, coalesce((after ->> 'id')::uuid, nil), most)
                           with ordinality as found (row, place)
                     where parents is null and num_nonnulls(export.contact_id, export.session_id) = 0
                     union all
                    select found.row, found.place
                      from private.exported_contact_rows(export, kind, coalesce((after ->> 'id')::uuid, nil), most)
                           with ordinality as found (row, place)
                     where parents is null and num_nonnulls(export.contact_id, export.session_id) > 0
                     union all
                    select found.row, found.place
                      from private.exported_parts(kind, parents) with ordinality as found (row, place)
                     where parents is not null and kind not in ('turns', 'messages')
                     union all
                    select found.row, found.place
                      from private.exported_talk(
                               kind, parents, coalesce((after ->> 'session_id')::uuid, nil),
                               coalesce((after ->> 'created_at')::timestamptz, '-infinity'), coalesce((after ->> 'id')::uuid, nil),
                               export.created_at, most) with ordinality as found (row, place)
                     where parents is not null and kind in ('turns', 'messages')) r);
end;
$$;
comment on function public.read_export_rows is 'Rows of one kind for an export''s job: {rows}. Without parents a page of contacts, conversations or sessions after an id; with them the rows of these contacts or sessions, turns and messages in pages after {session_id, created_at, id}.';

grant execute on function
    private.queue_export, public.request_export
    to service_role, switchboard;

grant execute on function
    public.request_session_export, public.begin_export, public.record_export, private.expired_exports, public.list_expired_exports,
    public.remove_export, private.exported_contacts, private.exported_workspace_rows, private.exported_contact_rows,
    private.exported_parts, private.exported_talk, public.read_export_rows
    to switchboard;
