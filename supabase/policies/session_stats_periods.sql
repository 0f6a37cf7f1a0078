-- Who may see a workspace's figures: admins and owners. The functions that count write them.

grant select on public.session_stats_periods to authenticated;
grant all on public.session_stats_periods to service_role;

create policy "Admins read their workspace's figures"
    on public.session_stats_periods for select to authenticated
    using (workspace_id in (select private.admin_workspaces()));
