-- Who may see device sessions, without their claim code: the user to whom one is attached, admins and owners.

grant select (
    id, workspace_id, provider, external_id, external_conversation_id, uid, user_id, linked_with, linked_at, conversation_id,
    created_at, last_segment_at, closed_at
) on public.device_sessions to authenticated;
grant select, insert, update on public.device_sessions to switchboard;
grant all on public.device_sessions to service_role;

create policy "Users read their own device sessions, admins their workspace's"
    on public.device_sessions for select to authenticated
    using (user_id = (select auth.uid()) or workspace_id in (select private.admin_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.device_sessions for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.device_sessions for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard changes the workspace it entered"
    on public.device_sessions for update to switchboard
    using (workspace_id = (select private.entered_workspace()))
    with check (workspace_id = (select private.entered_workspace()));
