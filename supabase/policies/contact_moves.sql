-- Who may see the rows that merges moved: only the functions that merge and undo.

grant select, insert on public.contact_moves to switchboard;
grant all on public.contact_moves to service_role;

create policy "Switchboard reads the workspace it entered"
    on public.contact_moves for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.contact_moves for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));
