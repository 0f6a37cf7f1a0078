-- Who may see how far a conversation was read: the member who read it.

grant select on public.conversation_reads to authenticated;
grant select, insert, update on public.conversation_reads to switchboard;
grant all on public.conversation_reads to service_role;

create policy "Members read their own reads"
    on public.conversation_reads for select to authenticated
    using (user_id = (select auth.uid()));

create policy "Switchboard reads the workspace it entered"
    on public.conversation_reads for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.conversation_reads for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard changes the workspace it entered"
    on public.conversation_reads for update to switchboard
    using (workspace_id = (select private.entered_workspace()))
    with check (workspace_id = (select private.entered_workspace()));
