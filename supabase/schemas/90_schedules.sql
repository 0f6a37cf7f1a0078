-- Schedules (pg_cron) and the calls out of the database (pg_net).

do $$
begin
    if to_regnamespace('cron') is null and exists (select from pg_catalog.pg_available_extensions where name = 'pg_cron') then
        create extension pg_cron;
    end if;
    if to_regnamespace('net') is null and exists (select from pg_catalog.pg_available_extensions where name = 'pg_net') then
        create extension pg_net with schema extensions;
    end if;
    if to_regnamespace('cron') is null or to_regnamespace('net') is null or to_regnamespace('vault') is null then
        raise exception 'Switchboard needs pg_cron, pg_net and Vault. Enable them under Database > Extensions, then push again.';
    end if;
end
$$;

create function private.call_function(name text)
    returns bigint language sql set search_path = ''
as $$
    -- Without an address or secret in Vault nothing is called.
    select net.http_post(
               url                  := address.decrypted_secret,
               body                 := '{}'::jsonb,
               headers              := jsonb_build_object('Content-Type', 'application/json',
                                                                     'Authorization', 'Bearer ' || secret.decrypted_secret),
               timeout_milliseconds := 60000)
      from vault.decrypted_secrets address
      join vault.decrypted_secrets secret on secret.name = 'cron_secret'
     where address.name = call_function.name || '_url';
$$;
comment on function private.call_function is 'Calls a function of ours: the address is the Vault secret <name>_url, the bearer cron_secret.';

create function private.call_soon(name text)
    returns boolean language plpgsql set search_path = ''
as $$
begin
    if not pg_try_advisory_xact_lock(hashtextextended('switchboard.wake.' || name, 0)) then
        return false;
    end if;
    insert into private.wakes as w (name) values (call_soon.name)
    on conflict on constraint wakes_pkey do update
       set woken_at = now()
     where w.woken_at <= now() - interval '1 second';
    if not found then
        return false;
    end if;
    return private.call_function(name) is not null;
end;
$$;
comment on function private.call_soon is 'Calls a function of ours out of turn, once this transaction is committed, at most once a second; whether it will.';

create function private.wake(name text)
    returns boolean language plpgsql security definer set search_path = ''
as $$
begin
    perform private.require_system();
    return private.call_soon(name);
end;
$$;
comment on function private.wake is 'Calls a function of ours out of turn, for work without a caller.';

create function public.wake_worker()
    returns jsonb language sql set search_path = ''
as $$
    select jsonb_build_object('woken', private.wake('worker'));
$$;
comment on function public.wake_worker is 'Wakes the worker for jobs that are due now; the schedule would within the minute. {woken}';

create function public.wake_archive()
    returns jsonb language sql set search_path = ''
as $$
    select jsonb_build_object('woken', private.wake('archive'));
$$;
comment on function public.wake_archive is 'Wakes the archive function for sessions and jobs that are due now; the schedule would within the minute. {woken}';

create function private.archive_is_needed()
    returns boolean language sql stable set search_path = ''
as $$
    select exists (select from public.jobs j where j.runs_in = 'archive' and j.status in ('queued', 'running'))
        or exists (select from public.archive_queue q where q.next_attempt_at <= now())
        or exists (select from public.archive_objects o where o.status = 'writing' and o.lease_until <= now())
        or exists (select from public.exports e where e.expires_at <= now());
$$;
comment on function private.archive_is_needed is 'Whether the archive function has jobs, sessions to write, or exports to delete.';

grant execute on function
    private.wake, public.wake_worker, public.wake_archive
    to switchboard;

select cron.schedule('switchboard-expire-turns', '* * * * *',  'select private.expire_turns()');
select cron.schedule('switchboard-worker',       '* * * * *',  $$select private.call_function('worker')$$);
select cron.schedule('switchboard-archive',      '15 3 * * *', $$select private.call_function('archive')$$);
-- Its jobs, and what an interrupted run left.
select cron.schedule('switchboard-archive-jobs', '* * * * *',  $$
    select private.call_function('archive') where private.archive_is_needed();
$$);
-- pg_cron never prunes its own log, a limit's row of yesterday counts nothing, and an expired invitation is only an address.
select cron.schedule('switchboard-prune',        '45 3 * * *', $$
    delete from cron.job_run_details where end_time < now() - interval '7 days';
    delete from public.rate_limits where window_started_at < now() - interval '1 day';
    delete from private.reads where window_started_at < now() - interval '1 day';
    delete from private.open_streams where ends_at < now();
    delete from private.presences where ends_at < now();
    delete from public.invitations where expires_at < now() - interval '30 days';
    delete from public.memories where expires_at < now() - interval '1 day';
$$);
select cron.schedule('switchboard-retention',    '5 4 * * *',  'select private.queue_retention()');
select cron.schedule('switchboard-forget-secrets', '50 3 * * *', 'select private.forget_secrets()');
select cron.schedule('switchboard-session-cleanup', '25 * * * *', $$select private.call_function('session_cleanup')$$);
select cron.schedule('switchboard-session-stats', '6-59/10 * * * *', 'select private.count_past_sessions()');
