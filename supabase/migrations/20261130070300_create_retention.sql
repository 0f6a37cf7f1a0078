-- Generated from supabase/schemas/73_retention.sql.
set lock_timeout = '5s';
set statement_timeout = '60s';
set check_function_bodies = off;

-- Retention: what is older than a workspace keeps it is deleted, in batches, by a daily job.

create table public.retention_settings (
    workspace_id uuid        not null,
    place        text        not null,
    days         integer,
    updated_at   timestamptz not null default now(),
    constraint retention_settings_pkey              primary key (workspace_id, place),
    constraint retention_settings_workspace_id_fkey foreign key (workspace_id) references public.workspaces (id) on delete cascade,
    constraint retention_settings_place             check (place in ('messages', 'raw_events', 'events', 'audit', 'addresses', 'memory_history')),
    -- A provider repeats a delivery for up to a week; what it repeats later is news.
    constraint retention_settings_days              check (days between case place when 'raw_events' then 7 else 1 end and 36500)
);
comment on table public.retention_settings is 'For how many days a workspace keeps what a place holds. Without a row it has the default of private.retention_of().';
comment on column public.retention_settings.place is 'messages and addresses (with user agents) of sessions that ended so long ago, archived ones too; raw_events: webhook deliveries, and jobs that have ended; events for subscriptions, with their deliveries; audit; memory_history.';
comment on column public.retention_settings.days is 'Null: forever.';
alter table public.retention_settings enable row level security;

create table private.retention_runs (
    workspace_id uuid        not null,
    place        text        not null,
    after_at     timestamptz not null default '-infinity',
    after_id     uuid        not null default '00000000-0000-0000-0000-000000000000',
    deleted      jsonb       not null default '{}',
    started_at   timestamptz not null default now(),
    finished_at  timestamptz,
    constraint retention_runs_pkey              primary key (workspace_id),
    constraint retention_runs_workspace_id_fkey foreign key (workspace_id) references public.workspaces (id) on delete cascade
);
comment on table private.retention_runs is 'The last run of a workspace''s retention: how far it is, and how many rows it has deleted by place.';
alter table private.retention_runs enable row level security;

create table private.emptied_sessions (
    session_id   uuid        not null,
    workspace_id uuid        not null,
    until        timestamptz not null,
    constraint emptied_sessions_pkey            primary key (session_id),
    constraint emptied_sessions_session_id_fkey foreign key (workspace_id, session_id) references public.sessions (workspace_id, id) on delete cascade
);
comment on table private.emptied_sessions is 'Imported sessions whose messages the retention has deleted: a repeat of their import would store and count them again.';
comment on column private.emptied_sessions.until is 'The time of the last message that was deleted; later ones may still be imported.';
alter table private.emptied_sessions enable row level security;

create function private.retention_places()
    returns text[] language sql immutable set search_path = ''
as $$
    select array['messages', 'jobs', 'raw_events', 'events', 'audit', 'addresses', 'memory_history'];
$$;
comment on function private.retention_places is 'The places in the order in which a run visits them.';

create function private.retention_of(workspace_id uuid)
    returns jsonb language sql stable set search_path = ''
as $$
    select '{"messages": null, "raw_events": 30, "events": 30, "audit": null, "addresses": null, "memory_history": null}'::jsonb
           || coalesce(jsonb_object_agg(s.place, s.days), '{}')
      from public.retention_settings s
     where s.workspace_id = retention_of.workspace_id;
$$;
comment on function private.retention_of is 'For how many days a workspace keeps what: {place: days}, null: forever.';

create function private.retention_cutoff(kept jsonb, place text)
    returns timestamptz language sql stable set search_path = ''
as $$
    -- Jobs are kept as long as the deliveries that they are about.
    select now() - make_interval(days => (kept ->> replace(place, 'jobs', 'raw_events'))::integer);
$$;
comment on function private.retention_cutoff is 'The time before which a place is deleted; null: nothing is.';

create function private.expired_rows(
    workspace_id uuid, place text, cutoff timestamptz, after_at timestamptz default '-infinity',
    after_id uuid default '00000000-0000-0000-0000-000000000000', most integer default null)
    returns table (id uuid, at timestamptz) language plpgsql stable set search_path = ''
as $$
#variable_conflict use_column
begin
    case place
        when 'messages', 'addresses' then
            -- A session that lives has not ended.
            return query
                select s.id, s.ended_at from public.sessions s
                 where s.workspace_id = expired_rows.workspace_id and s.ended_at < cutoff and (s.ended_at, s.id) > (expired_rows.after_at, expired_rows.after_id)
                   and case place when 'messages' then exists (select from public.messages m where m.session_id = s.id)
                                                       or exists (select from public.session_archives a where a.session_id = s.id and a.is_current)
                                  else s.metadata ?| array['address', 'user_agent', 'device_info'] end
                 order by s.ended_at, s.id limit most;
        when 'raw_events' then
            return query
                select e.id, e.received_at from public.inbound_events e
                 where e.workspace_id = expired_rows.workspace_id and e.received_at < cutoff
                   and (e.received_at, e.id) > (expired_rows.after_at, expired_rows.after_id)
                   and not exists (select from public.jobs j where j.event_id = e.id and (j.finished_at is null or j.finished_at >= cutoff))
                 order by e.received_at, e.id limit most;
        when 'jobs' then
            return query
                select j.id, j.created_at from public.jobs j
                 where j.workspace_id = expired_rows.workspace_id and j.created_at < cutoff and j.finished_at < cutoff
                   and (j.created_at, j.id) > (expired_rows.after_at, expired_rows.after_id)
                 order by j.created_at, j.id limit most;
        when 'events' then
            return query
                select e.id, e.occurred_at from public.events e
                 where e.workspace_id = expired_rows.workspace_id and e.occurred_at < cutoff and e.occurred_at >= expired_rows.after_at
                 order by e.occurred_at limit most;
        when 'audit' then
            return query
                select a.id, a.created_at from public.audit_events a
                 where a.workspace_id = expired_rows.workspace_id and a.created_at < cutoff and a.created_at >= expired_rows.after_at
                 order by a.created_at limit most;
        else
            return query
                select h.id, h.changed_at from public.memory_history h
                 where h.workspace_id = expired_rows.workspace_id and h.changed_at < cutoff
                   and (h.changed_at, h.id) > (expired_rows.after_at, expired_rows.after_id)
                 order by h.changed_at, h.id limit most;
    end case;
end;
$$;
comment on function private.expired_rows is 'What a place holds from before the cutoff, oldest first; of messages and addresses, their sessions.';

create function private.dropped_messages(session_ids uuid[])
    returns bigint language sql stable set search_path = ''
as $$
    select coalesce(sum(a.message_count), 0)
      from public.session_archives a
     where a.session_id = any (session_ids)
       and a.is_current
       and a.messages_dropped;
$$;
comment on function private.dropped_messages is 'How many messages of sessions are in the archive only.';

create function private.note_emptied(session_ids uuid[])
    returns void language sql set search_path = ''
as $$
    insert into private.emptied_sessions as e (session_id, workspace_id, until)
    select s.id, s.workspace_id, l.latest
      from public.sessions s
     cross join lateral (select greatest((select max(m.created_at) from public.messages m where m.session_id = s.id),
                                         (select max(i.created_at) from private.archived_message_ids i where i.session_id = s.id)) as latest) l
     where s.id = any (session_ids)
       and l.latest is not null
       and exists (select from public.import_refs f where f.conversation_id = s.conversation_id)
    on conflict on constraint emptied_sessions_pkey do update set until = greatest(e.until, excluded.until);
$$;
comment on function private.note_emptied is 'Notes of imported sessions up to when their messages, also those in the archive only, are about to be deleted.';

create function private.emptied_until(session_ids uuid[])
    returns table (session_id uuid, until timestamptz) language sql stable security definer set search_path = ''
as $$
    select e.session_id, e.until
      from private.emptied_sessions e
     where e.session_id = any (session_ids)
       and e.workspace_id = private.entered_workspace();
$$;
comment on function private.emptied_until is 'Up to when the messages of imported sessions of the entered workspace were deleted; none of a session that the retention has left alone.';

create function private.delete_expired(place text, ids uuid[])
    returns bigint language plpgsql set search_path = ''
as $$
declare
    deleted bigint;
    dropped bigint := 0;
begin
    case place
        when 'messages' then
            -- A session that was resumed meanwhile has not ended.
            ids := array(select s.id from public.sessions s where s.id = any (ids) and s.ended_at is not null order by s.id for no key update);
            delete from public.memories r using public.messages m where m.session_id = any (ids) and r.message_id = m.id and r.kind = 'turn';
            -- Of messages that the archive dropped, memories name the session only.
            delete from public.memories r where r.session_id = any (ids) and r.kind = 'turn';
            dropped := private.dropped_messages(ids);
            perform private.note_emptied(ids);
            perform private.retire_archives(ids);
            delete from private.archived_message_ids i where i.session_id = any (ids);
            delete from public.messages m where m.session_id = any (ids);
        when 'addresses' then
            update public.sessions s
               set metadata = s.metadata - '{address,user_agent,device_info}'::text[]
             where s.id = any (ids)
               and s.ended_at is not null;
        when 'raw_events' then
            delete from public.inbound_events e
             where e.id = any (ids)
               and not exists (select from public.jobs j where j.event_id = e.id and j.finished_at is null);
        when 'jobs' then
            delete from public.jobs j where j.id = any (ids) and j.finished_at is not null;
        when 'events' then
            delete from public.events e where e.id = any (ids);
        when 'audit' then
            delete from public.audit_events a where a.id = any (ids);
        else
            delete from public.memory_history h where h.id = any (ids);
    end case;
    get diagnostics deleted = row_count;
    return deleted + dropped;
end;
$$;
comment on function private.delete_expired is 'Deletes what expired_rows() found, rechecked; how many rows.';

create function private.retain_next()
    returns private.retention_runs language plpgsql security definer set search_path = ''
as $$
declare
    workspace constant uuid    := private.entered_workspace();
    kept      constant jsonb   := private.retention_of(workspace);
    run       private.retention_runs;
    batch     integer;
    cutoff    timestamptz;
    last      record;
begin
    insert into private.retention_runs as r (workspace_id, place) values (workspace, 'messages')
    on conflict on constraint retention_runs_pkey do update
       set (place, after_at, after_id, deleted, started_at, finished_at)
         = (select n.place, n.after_at, n.after_id, n.deleted, n.started_at, n.finished_at
              from jsonb_populate_record(null::private.retention_runs,
                       case when r.finished_at is null then to_jsonb(r) else to_jsonb(excluded) end) n)
    returning r.* into run;
    -- A transcript may have thousands of messages.
    batch  := case run.place when 'messages' then 20 else 1000 end;
    cutoff := private.retention_cutoff(kept, run.place);
    select array_agg(e.id) as ids, count(*) as found, (array_agg(e.at order by e.at desc, e.id desc))[1] as at,
           (array_agg(e.id order by e.at desc, e.id desc))[1] as id
      into last
      from private.expired_rows(workspace, run.place, cutoff, run.after_at, run.after_id, batch) e
     where cutoff is not null;
    if last.found > 0 then
        run.deleted := run.deleted || jsonb_build_object(
            run.place, coalesce((run.deleted -> run.place)::bigint, 0) + private.delete_expired(run.place, last.ids));
    end if;
    if last.found = batch then
        run.after_at := last.at;
        run.after_id := last.id;
    else
        run.place    := (private.retention_places())[array_position(private.retention_places(), run.place) + 1];
        run.after_at := '-infinity';
        run.after_id := '00000000-0000-0000-0000-000000000000';
        if run.place is null then
            run.place       := 'messages';
            run.finished_at := clock_timestamp();
        end if;
    end if;
    update private.retention_runs r
       set (place, after_at, after_id, deleted, finished_at) = (run.place, run.after_at, run.after_id, run.deleted, run.finished_at)
     where r.workspace_id = workspace;
    return run;
end;
$$;
comment on function private.retain_next is 'Deletes the next batch of what the entered workspace does not keep any longer, and records how far it came.';

create function public.apply_retention(workspace_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    run private.retention_runs;
begin
    perform private.enter_workspace(workspace_id);
    run := private.retain_next();
    return jsonb_build_object('finished', run.finished_at is not null, 'deleted', run.deleted);
end;
$$;
comment on function public.apply_retention is 'Deletes the next batch of what a workspace does not keep any longer: {finished, deleted {place: count}}. Call it until it is finished.';

create function private.queue_retention()
    returns void language sql set search_path = ''
as $$
    insert into public.jobs (workspace_id, kind, ordering_key)
    select w.id, 'apply_retention', 'retention'
      from public.workspaces w
     where not exists (select
                         from public.jobs j
                        where j.workspace_id = w.id
                          and j.ordering_key = 'retention'
                          and j.status in ('queued', 'running'));
$$;
comment on function private.queue_retention is 'Queues the job that applies each workspace''s retention, unless it waits already.';

create function private.describe_retention(workspace_id uuid)
    returns jsonb language plpgsql stable security definer set search_path = ''
as $$
begin
    if workspace_id is distinct from private.entered_workspace() then
        return null;
    end if;
    return (select jsonb_object_agg(k.key || '_days', k.value) from jsonb_each(private.retention_of(workspace_id)) k)
        || jsonb_build_object('workspace_id', workspace_id, 'last_run', (select jsonb_build_object('started_at', r.started_at, 'finished_at', r.finished_at, 'deleted', r.deleted)
                                             from private.retention_runs r
                                            where r.workspace_id = describe_retention.workspace_id));
end;
$$;
comment on function private.describe_retention is 'The entered workspace''s settings, and its last run.';

create function public.read_retention(workspace_id uuid)
    returns jsonb language plpgsql stable set search_path = ''
as $$
begin
    return private.describe_retention(private.enter_to_manage('workspace', workspace_id, 'agent'));
end;
$$;
comment on function public.read_retention is 'For how many days a workspace keeps what, and what its last run deleted: {workspace_id, …_days, last_run {started_at, finished_at, deleted}}. For members.';

create function public.set_retention(workspace_id uuid, days jsonb)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_to_manage('workspace', workspace_id, 'admin');
begin
    insert into public.retention_settings as s (workspace_id, place, days)
    select workspace, d.key, d.value::integer
      from jsonb_each_text(days) d
    on conflict on constraint retention_settings_pkey do update
       set days = excluded.days, updated_at = excluded.updated_at;
    perform private.record_change(workspace, 'workspace.retention_set', workspace);
    return private.describe_retention(workspace);
end;
$$;
comment on function public.set_retention is 'Changes for how many days a workspace keeps what: days is {place: days}, null: forever. Owners and admins.';

create function private.count_expired(kept jsonb)
    returns jsonb language sql stable security definer set search_path = ''
as $$
    select jsonb_object_agg(p.place, jsonb_build_object('rows', f.rows, 'oldest', f.oldest))
      from unnest(private.retention_places()) as p (place)
     cross join lateral (select private.retention_cutoff(kept, p.place) as at) cutoff
     cross join lateral (select case p.place when 'messages' then coalesce(sum((select count(*) from public.messages m where m.session_id = e.id)), 0)
                                                                             + private.dropped_messages(array_agg(e.id))
                                             else count(e.id) end as rows,
                                min(e.at) as oldest
                           from private.expired_rows(private.entered_workspace(), p.place, cutoff.at) e
                          where cutoff.at is not null) f;
$$;
comment on function private.count_expired is 'What settings would delete now in the entered workspace: {place: {rows, oldest}}.';

create function public.preview_retention(workspace_id uuid, days jsonb default '{}')
    returns jsonb language plpgsql stable set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_to_manage('workspace', workspace_id, 'admin');
begin
    return jsonb_build_object('places', private.count_expired(private.retention_of(workspace) || days));
end;
$$;
comment on function public.preview_retention is 'What a run would delete now, by the workspace''s settings or with other days: {places {place: {rows, oldest}}}. Owners and admins.';

grant execute on function
    private.retention_of, private.describe_retention, private.count_expired, private.retain_next, public.apply_retention, public.read_retention,
    public.set_retention, public.preview_retention
    to service_role, switchboard;

grant execute on function
    private.emptied_until
    to switchboard;
