-- pg_cron's names, for local/background.py to run. Left out on a server where the real pg_cron is loaded.
-- pg_cron's functions are C and write the tables whatever the caller's rights; here a definer function does.

create schema if not exists cron;
revoke all on schema cron from public;
grant usage on schema cron to postgres with grant option;

create sequence if not exists cron.jobid_seq;
create table if not exists cron.job (
    jobid    bigint primary key default nextval('cron.jobid_seq'),
    schedule text not null,
    command  text not null,
    nodename text not null default 'localhost',
    nodeport integer not null default inet_server_port(),
    database text not null default current_database(),
    username text not null default current_user,
    active   boolean not null default true,
    jobname  text,
    constraint jobname_username_uniq unique (jobname, username)
);
alter table cron.job enable row level security;
drop policy if exists cron_job_policy on cron.job;
create policy cron_job_policy on cron.job using (username = current_user);

create sequence if not exists cron.runid_seq;
create table if not exists cron.job_run_details (
    jobid          bigint,
    runid          bigint primary key default nextval('cron.runid_seq'),
    job_pid        integer,
    database       text,
    username       text,
    command        text,
    status         text,
    return_message text,
    start_time     timestamptz,
    end_time       timestamptz
);
alter table cron.job_run_details enable row level security;
drop policy if exists cron_job_run_details_policy on cron.job_run_details;
create policy cron_job_run_details_policy on cron.job_run_details using (username = current_user);

grant select on cron.job to public;
grant select, delete on cron.job_run_details to public;
grant select on sequence cron.jobid_seq, cron.runid_seq to public;

-- Five cron fields, a @name, or '[1-59] seconds'; the scheduler reads the fields themselves.
create or replace function cron._check(schedule text) returns void
    language plpgsql immutable set search_path = ''
as $$
begin
    if schedule !~* '^\s*([1-9]|[1-5][0-9])\s+seconds?\s*$'
        and schedule !~* '^\s*@(yearly|annually|monthly|weekly|daily|midnight|hourly)\s*$'
        and schedule !~* '^\s*([0-9a-z*$,/-]+\s+){4}[0-9a-z*$,/-]+\s*$'
    then
        raise exception 'invalid schedule: %', schedule using
            errcode = 'invalid_parameter_value',
            hint = 'Use cron format (e.g. 5 4 * * *), or interval format ''[1-59] seconds''';
    end if;
end
$$;

create or replace function cron._schedule(job_name text, schedule text, command text, as_user text) returns bigint
    language plpgsql security definer set search_path = ''
as $$
declare
    job_id bigint;
begin
    perform cron._check(schedule);
    -- The caller's name is an argument, because a definer function cannot see it. Only a superuser may name a superuser.
    if (select rolsuper from pg_catalog.pg_roles where rolname = as_user)
        and not (select rolsuper from pg_catalog.pg_roles where rolname = session_user)
    then
        raise exception 'must be superuser to create a job for another role';
    end if;
    insert into cron.job (jobname, schedule, command, username)
    values (job_name, schedule, command, as_user)
    on conflict on constraint jobname_username_uniq
        do update set schedule = excluded.schedule, command = excluded.command
    returning jobid into job_id;
    perform pg_catalog.pg_notify('pg_cron', '');
    return job_id;
end
$$;

create or replace function cron.schedule(schedule text, command text) returns bigint
    language sql strict set search_path = ''
as $$
    select cron._schedule(null, schedule, command, current_user)
$$;

create or replace function cron.schedule(job_name text, schedule text, command text) returns bigint
    language sql set search_path = ''
as $$
    select cron._schedule(job_name, schedule, command, current_user)
$$;

create or replace function cron._remove(wanted_id bigint, wanted_name text, as_user text) returns boolean
    language plpgsql security definer set search_path = ''
as $$
begin
    delete from cron.job where (jobid = wanted_id or jobname = wanted_name) and username = as_user;
    if not found then
        raise exception 'could not find valid entry for job ''%''', coalesce(wanted_id::text, wanted_name);
    end if;
    perform pg_catalog.pg_notify('pg_cron', '');
    return true;
end
$$;

create or replace function cron.unschedule(job_id bigint) returns boolean
    language sql strict set search_path = ''
as $$
    select cron._remove(job_id, null, current_user)
$$;

create or replace function cron.unschedule(job_name text) returns boolean
    language sql strict set search_path = ''
as $$
    select cron._remove(null, job_name, current_user)
$$;

create or replace function cron._alter(
    wanted_id bigint, new_schedule text, new_command text, new_active boolean, as_user text
) returns void
    language plpgsql security definer set search_path = ''
as $$
begin
    if new_schedule is not null then
        perform cron._check(new_schedule);
    end if;
    update cron.job
    set schedule = coalesce(new_schedule, schedule),
        command = coalesce(new_command, command),
        active = coalesce(new_active, active)
    where jobid = wanted_id and username = as_user;
    if not found then
        raise exception 'Job % does not exist or you don''t own it', wanted_id;
    end if;
    perform pg_catalog.pg_notify('pg_cron', '');
end
$$;

-- Another database or user is refused: there is one database here, and only a superuser could name another user.
create or replace function cron.alter_job(
    job_id bigint,
    schedule text default null,
    command text default null,
    database text default null,
    username text default null,
    active boolean default null
) returns void
    language plpgsql set search_path = ''
as $$
begin
    if alter_job.database <> current_database() or alter_job.username <> current_user then
        raise exception 'must be superuser to alter database or username';
    end if;
    perform cron._alter(job_id, schedule, command, active, current_user);
end
$$;

revoke all on all functions in schema cron from public;
grant execute on all functions in schema cron to postgres with grant option;
grant all on cron.job_run_details to postgres with grant option;
grant select on cron.job to postgres with grant option;
