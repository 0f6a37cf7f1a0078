-- Who may see turns: the readers of their session.

grant select on public.turns to authenticated, contact;
grant select, insert, update on public.turns to switchboard;
grant all on public.turns to service_role;

create policy "Admins read all turns, users and agents their own"
    on public.turns for select to authenticated
    using (workspace_id in (select private.admin_workspaces()) or session_id in (select private.own_sessions()));

create policy "Contacts read their conversation's turns"
    on public.turns for select to contact
    using (conversation_id = (select private.token_conversation()));

create policy "Switchboard reads the workspace it entered"
    on public.turns for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.turns for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard changes the workspace it entered"
    on public.turns for update to switchboard
    using (workspace_id = (select private.entered_workspace()))
    with check (workspace_id = (select private.entered_workspace()));
