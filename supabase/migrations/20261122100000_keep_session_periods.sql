-- Statistics are kept by the hour, the day and the month, not only by the day. A stretch of days is answered by the largest
-- kept periods in it, so two years are some fifty of them; and what is counted when somebody asks is the newest hour or two
-- and what changed, not all of today. What changed is noted by the hour: a session that goes on has its hour counted anew, and
-- not all of its day. Days that were kept before stay as they are; hours and months are added by the schedule.

set lock_timeout = '5s';
set statement_timeout = '60s';

-- Until this is done nobody counts, and nobody changes what would have to be marked in the old way or the new.
select pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('switchboard.sweep.session_stats', 0));
lock table public.contacts, public.conversations, public.sessions in share row exclusive mode;

create table public.session_stats_periods (
    workspace_id        uuid        not null,
    unit                text        not null,
    starts_at           timestamptz not null,
    part                integer     not null,
    persona_id          uuid,
    space_id            uuid,
    channel             text,
    sessions            integer     not null default 0,
    ended               integer     not null default 0,
    completed           integer     not null default 0,
    statuses            jsonb       not null default '{}',
    steps               jsonb       not null default '{}',
    turns               integer     not null default 0,
    turn_statuses       jsonb       not null default '{}',
    failures            jsonb       not null default '{}',
    responses           integer     not null default 0,
    response_ms         bigint      not null default 0,
    response_buckets    integer[]   not null default '{}',
    response_counts     integer[]   not null default '{}',
    first_tokens        integer     not null default 0,
    first_token_ms      bigint      not null default 0,
    first_token_buckets integer[]   not null default '{}',
    first_token_counts  integer[]   not null default '{}',
    registered          integer     not null default 0,
    chatted             integer     not null default 0,
    answered            integer     not null default 0,
    proposed            integer     not null default 0,
    constraint session_stats_periods_pkey              primary key (workspace_id, unit, starts_at, part),
    constraint session_stats_periods_workspace_id_fkey foreign key (workspace_id) references public.workspaces (id) on delete cascade,
    constraint session_stats_periods_unit              check (unit in ('hour', 'day', 'month')),
    constraint session_stats_periods_part              check (part > 0 or (part = 0 and persona_id is null and space_id is null and channel is null))
);
comment on table  public.session_stats_periods                  is 'What the sessions of an hour, a day or a month came to when they were counted. What changed since is in the answer of read_session_stats and not yet here.';
comment on column public.session_stats_periods.starts_at        is 'The beginning, in UTC, of the hour, day or month in which the sessions (and, for registered, the contacts) were made.';
comment on column public.session_stats_periods.part             is '0: the whole period; from 1 on its parts by persona, space and channel.';
comment on column public.session_stats_periods.completed        is 'Ended as completed, archived since or not.';
comment on column public.session_stats_periods.response_buckets is 'Bucket n holds from 1.1 ^ (n - 1) up to 1.1 ^ n milliseconds, bucket 0 less than one.';
alter table public.session_stats_periods enable row level security;
grant select on public.session_stats_periods to authenticated;
grant all    on public.session_stats_periods to service_role;

insert into public.session_stats_periods
select d.workspace_id, 'day', d.day::timestamp at time zone 'UTC', d.part, d.persona_id, d.space_id, d.channel, d.sessions, d.ended, d.completed,
       d.statuses, d.steps, d.turns, d.turn_statuses, d.failures, d.responses, d.response_ms, d.response_buckets, d.response_counts,
       d.first_tokens, d.first_token_ms, d.first_token_buckets, d.first_token_counts, d.registered, d.chatted, d.answered, d.proposed
  from public.session_stats_daily d;

-- squawk-ignore renaming-column
alter table private.session_stats_marks rename column day to hour;
-- squawk-ignore changing-column-type
alter table private.session_stats_marks alter column hour type timestamptz using (hour::timestamp at time zone 'UTC');
comment on table private.session_stats_marks is
    'Hours of which something changed after they may have been counted, and with them their days and months. Rows are added and never shared, so that writers never wait; without a foreign key, so that they lock nothing.';

-- squawk-ignore renaming-column
alter table private.session_stats_progress rename column counted_until to days_until;
-- squawk-ignore changing-column-type
alter table private.session_stats_progress alter column days_until type timestamptz using ((days_until + 1)::timestamp at time zone 'UTC');
alter table private.session_stats_progress add column hours_until  timestamptz not null default '-infinity';
alter table private.session_stats_progress add column months_until timestamptz not null default '-infinity';
update private.session_stats_progress p set hours_until = p.days_until where true;
comment on table  private.session_stats_progress              is 'Up to where a workspace''s periods are kept; what is marked among them has changed since.';
comment on column private.session_stats_progress.hours_until  is 'Hours from days_until up to here are kept.';
comment on column private.session_stats_progress.days_until   is 'Days up to here are kept, and their hours no more.';
comment on column private.session_stats_progress.months_until is 'Months up to here are kept, besides their days.';

-- Marks ---------------------------------------------------------------------------------------------------------------

-- An hour is counted when it is over for an hour. Whoever changes a session of an hour that is over for half an hour leaves a
-- mark, by when their transaction began; so who leaves none has half an hour to commit. Requests have seconds (the roles'
-- statement_timeout), sweeps and migrations a minute or two. A session younger than half an hour leaves no mark, whatever is said in it.
create or replace function private.mark_session_day()
    returns trigger
    language plpgsql
    volatile
    security definer
    set search_path = ''
as $$
declare
    was public.sessions := case when tg_op <> 'INSERT' then old end;
    now_is public.sessions := case when tg_op <> 'DELETE' then new end;
    marked_until constant timestamptz := pg_catalog.date_trunc('hour', pg_catalog.now() - interval '30 minutes', 'UTC');
    leaves constant text := case when was.contact_id is distinct from now_is.contact_id
                                 then was.contact_id || coalesce(' to ' || now_is.contact_id, '') end;
    felt  boolean := (was.contact_id, was.turn_count, was.message_count, was.proposal_id, was.created_at)
                     is distinct from (now_is.contact_id, now_is.turn_count, now_is.message_count, now_is.proposal_id, now_is.created_at);
    noted jsonb;
begin
    if leaves is not null then
        -- Of all the sessions that leave a contact at once (a merge, a deletion), an earlier one has marked what a later one would.
        noted := nullif(pg_catalog.current_setting('switchboard.leaving_sessions', true), '');
        felt  := noted ->> 'contact' is distinct from leaves or was.created_at < (noted ->> 'since')::timestamptz;
        if felt then
            perform pg_catalog.set_config('switchboard.leaving_sessions', pg_catalog.jsonb_build_object(
                                              'contact', leaves, 'since', was.created_at)::text, true);
        end if;
    end if;
    insert into private.session_stats_marks (workspace_id, hour)
    select distinct e.workspace_id, pg_catalog.date_trunc('hour', e.created_at, 'UTC')
      from (values (was.workspace_id, was.created_at), (now_is.workspace_id, now_is.created_at)) e (workspace_id, created_at)
     where e.created_at < marked_until
     union
    -- A contact counts where it did something first, so what becomes of a session may be felt in the contact's later ones.
    select e.workspace_id, pg_catalog.date_trunc('hour', e.created_at, 'UTC')
      from public.sessions e
     where e.contact_id in (was.contact_id, now_is.contact_id)
       and e.created_at > least(was.created_at, now_is.created_at)
       and e.created_at < marked_until
       and felt;
    return null;
end;
$$;
-- squawk-ignore renaming-object
alter function private.mark_session_day() rename to mark_session_hour;
comment on function private.mark_session_hour() is 'A trigger: what changed is a session of an hour that may have been counted.';

create or replace function private.mark_contact_day()
    returns trigger
    language plpgsql
    volatile
    security definer
    set search_path = ''
as $$
declare
    contact public.contacts := case when tg_op = 'DELETE' then old else new end;
begin
    insert into private.session_stats_marks (workspace_id, hour)
    values (contact.workspace_id, pg_catalog.date_trunc('hour', contact.created_at, 'UTC'));
    return null;
end;
$$;
-- squawk-ignore renaming-object
alter function private.mark_contact_day() rename to mark_contact_hour;
comment on function private.mark_contact_hour() is 'A trigger: what changed is a contact of an hour that may have been counted.';

create or replace function private.mark_conversation_days()
    returns trigger
    language plpgsql
    volatile
    security definer
    set search_path = ''
as $$
declare
    marked_until constant timestamptz := pg_catalog.date_trunc('hour', pg_catalog.now() - interval '30 minutes', 'UTC');
begin
    insert into private.session_stats_marks (workspace_id, hour)
    select s.workspace_id, pg_catalog.date_trunc('hour', s.created_at, 'UTC')
      from public.sessions s
     where s.conversation_id = new.id
       and s.created_at < marked_until
     union
    select c.workspace_id, pg_catalog.date_trunc('hour', c.created_at, 'UTC')
      from public.contacts c
      join public.sessions s on s.id = c.session_id
     where s.conversation_id = new.id
       and c.created_at < marked_until;
    return null;
end;
$$;
-- squawk-ignore renaming-object
alter function private.mark_conversation_days() rename to mark_conversation_hours;
comment on function private.mark_conversation_hours() is 'A trigger: a conversation''s sessions count for another space or channel.';

create or replace trigger mark_inserted_sessions after insert on public.sessions
    for each row when (new.created_at < pg_catalog.date_trunc('hour', pg_catalog.now() - interval '30 minutes', 'UTC'))
    execute function private.mark_session_hour();
create or replace trigger mark_changed_sessions after update on public.sessions
    for each row when (least(old.created_at, new.created_at) < pg_catalog.date_trunc('hour', pg_catalog.now() - interval '30 minutes', 'UTC'))
    execute function private.mark_session_hour();
create or replace trigger mark_deleted_sessions after delete on public.sessions
    for each row when (old.created_at < pg_catalog.date_trunc('hour', pg_catalog.now() - interval '30 minutes', 'UTC'))
    execute function private.mark_session_hour();
create or replace trigger mark_inserted_contacts after insert on public.contacts
    for each row when (new.created_at < pg_catalog.date_trunc('hour', pg_catalog.now() - interval '30 minutes', 'UTC'))
    execute function private.mark_contact_hour();
create or replace trigger mark_linked_contacts after update of session_id on public.contacts
    for each row when (old.session_id is distinct from new.session_id
                       and new.created_at < pg_catalog.date_trunc('hour', pg_catalog.now() - interval '30 minutes', 'UTC'))
    execute function private.mark_contact_hour();
create or replace trigger mark_deleted_contacts after delete on public.contacts
    for each row when (old.created_at < pg_catalog.date_trunc('hour', pg_catalog.now() - interval '30 minutes', 'UTC'))
    execute function private.mark_contact_hour();
