-- Who may see the queue: admins and owners.

grant select on public.jobs to authenticated;
grant select, insert, update on public.jobs to switchboard;
grant all on public.jobs to service_role;

create policy "Admins read their workspace's jobs"
    on public.jobs for select to authenticated
    using (workspace_id in (select private.admin_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.jobs for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.jobs for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard changes the workspace it entered"
    on public.jobs for update to switchboard
    using (workspace_id = (select private.entered_workspace()))
    with check (workspace_id = (select private.entered_workspace()));
