-- Row-level security as supabase/policies/ says it; written by `python -m local policies`.

set lock_timeout = '5s';
set statement_timeout = '60s';

-- Who may see a workspace's figures: admins and owners. The functions that count write them.

create policy "Admins read their workspace's figures"
    on public.session_stats_periods for select to authenticated
    using (workspace_id in (select private.admin_workspaces()));
