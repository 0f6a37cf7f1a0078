-- Who may see what was erased: admins and owners.

grant select on public.erasures to authenticated;
grant select on public.erasures to switchboard;
grant all on public.erasures to service_role;

create policy "Admins read their workspace's erasures"
    on public.erasures for select to authenticated
    using (workspace_id in (select private.admin_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.erasures for select to switchboard
    using (workspace_id = (select private.entered_workspace()));
