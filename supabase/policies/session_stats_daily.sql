-- Who may read a workspace's figures: its owners and admins. The functions that count write them.

grant select on public.session_stats_daily to authenticated;
grant all on public.session_stats_daily to service_role;

create policy "Admins read their workspace's figures"
    on public.session_stats_daily for select to authenticated
    using (workspace_id in (select private.admin_workspaces()));
