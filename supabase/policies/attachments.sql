-- Who may see attachments: the members who read the message.

grant select on public.attachments to authenticated;
grant select, insert on public.attachments to switchboard;
grant all on public.attachments to service_role;

create policy "Members read the attachments of messages that they read"
    on public.attachments for select to authenticated
    using (workspace_id in (select private.admin_workspaces())
           or (workspace_id in (select private.member_workspaces()) and conversation_id in (select private.own_conversations())));

create policy "Switchboard reads the workspace it entered"
    on public.attachments for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.attachments for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));
