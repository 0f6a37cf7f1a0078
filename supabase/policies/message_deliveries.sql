-- Who may see what became of a sent message: the members who read the message.

grant select on public.message_deliveries to authenticated;
grant select, insert, update on public.message_deliveries to switchboard;
grant all on public.message_deliveries to service_role;

create policy "Members read the deliveries of messages that they read"
    on public.message_deliveries for select to authenticated
    using (workspace_id in (select private.admin_workspaces())
           or (workspace_id in (select private.member_workspaces()) and conversation_id in (select private.own_conversations())));

create policy "Switchboard reads the workspace it entered"
    on public.message_deliveries for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.message_deliveries for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard changes the workspace it entered"
    on public.message_deliveries for update to switchboard
    using (workspace_id = (select private.entered_workspace()))
    with check (workspace_id = (select private.entered_workspace()));
