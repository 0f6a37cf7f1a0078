-- Who may see the history of memories: owners and admins.

grant select on public.memory_history to authenticated;
grant select, insert, update, delete on public.memory_history to switchboard;
grant all on public.memory_history to service_role;

create policy "Admins read their workspace's memory history"
    on public.memory_history for select to authenticated
    using (workspace_id in (select private.admin_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.memory_history for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.memory_history for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard changes the workspace it entered"
    on public.memory_history for update to switchboard
    using (workspace_id = (select private.entered_workspace()))
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard deletes in the workspace it entered"
    on public.memory_history for delete to switchboard
    using (workspace_id = (select private.entered_workspace()));
