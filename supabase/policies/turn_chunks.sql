-- Who may see a running answer: the readers of its turn.

grant select on public.turn_chunks to authenticated, contact;
grant select, insert, delete on public.turn_chunks to switchboard;
grant all on public.turn_chunks to service_role;

create policy "Admins read all chunks, users and agents their own"
    on public.turn_chunks for select to authenticated
    using (workspace_id in (select private.admin_workspaces()) or turn_id in (select private.own_active_turns()));

create policy "Contacts read their conversation's chunks"
    on public.turn_chunks for select to contact
    using (conversation_id = (select private.token_conversation()));

create policy "Switchboard reads the workspace it entered"
    on public.turn_chunks for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.turn_chunks for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard deletes in the workspace it entered"
    on public.turn_chunks for delete to switchboard
    using (workspace_id = (select private.entered_workspace()));
