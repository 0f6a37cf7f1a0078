-- Keeping the days that are over, and counting anew those in which something changed.

set lock_timeout = '5s';
set statement_timeout = '60s';

create function private.count_past_sessions()
    returns integer
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    -- Over, and an hour more for whoever changed a session on its own day.
    last_day constant date := ((pg_catalog.now() - interval '25 hours') at time zone 'UTC')::date;
    workspace record;
    marked    date[];
    next_day  date;
    counted   integer := 0;
begin
    -- One at a time: of two, the one with the older picture could write last.
    if not pg_catalog.pg_try_advisory_xact_lock(pg_catalog.hashtextextended('switchboard.sweep.session_stats', 0)) then
        return 0;
    end if;
    for workspace in
        select w.id, p.counted_until
          from public.workspaces w
          left join private.session_stats_progress p on p.workspace_id = w.id
         where p.counted_until is distinct from last_day
            or exists (select from private.session_stats_marks m where m.workspace_id = w.id and m.day <= p.counted_until)
         order by w.id
    loop
        -- First the marks, then the counting, which sees all that was committed with them; a later mark stays.
        with taken as (
            delete from private.session_stats_marks m
             where m.workspace_id = workspace.id
               and m.day <= greatest(workspace.counted_until, last_day)
            returning m.day
        )
        select coalesce(pg_catalog.array_agg(distinct t.day), '{}') into marked from taken t;
        delete from public.session_stats_daily d where d.workspace_id = workspace.id and d.day = any (marked);
        for next_day in select m.day from unnest(marked) m (day) where m.day <= workspace.counted_until order by m.day loop
            insert into public.session_stats_daily
            select c.* from private.count_session_days(workspace.id, next_day, next_day, false) c;
            counted := counted + 1;
        end loop;

        next_day := workspace.counted_until + 1;
        if next_day is null then
            select least((select pg_catalog.min(s.created_at) from public.sessions s where s.workspace_id = workspace.id),
                         (select pg_catalog.min(c.created_at) from public.contacts c where c.workspace_id = workspace.id)) at time zone 'UTC'
              into next_day;
        end if;
        -- A month at once where there are many.
        while next_day <= last_day loop
            insert into public.session_stats_daily
            select c.* from private.count_session_days(workspace.id, next_day, least(next_day + 30, last_day), false) c;
            counted := counted + least(31, last_day - next_day + 1);
            next_day := next_day + 31;
        end loop;
        insert into private.session_stats_progress as p (workspace_id, counted_until)
        values (workspace.id, last_day)
        on conflict on constraint session_stats_progress_pkey do update
           set counted_until = greatest(p.counted_until, excluded.counted_until);
    end loop;
    delete from private.session_stats_marks m
     where not exists (select from public.workspaces w where w.id = m.workspace_id);
    return counted;
end;
$$;
comment on function private.count_past_sessions() is
    'Counts the days that are over, and those in which something changed since; how many days it counted.';
