-- Who may see the external ids of imports: owners and admins, who import.

grant select on public.import_refs to authenticated;
grant select, insert on public.import_refs to switchboard;
grant all on public.import_refs to service_role;

create policy "Admins read their workspace's external ids"
    on public.import_refs for select to authenticated
    using (workspace_id in (select private.admin_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.import_refs for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.import_refs for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));
