-- Who may see how a persona is doing: members.

grant select on public.persona_breakers to authenticated;
grant select, insert, update on public.persona_breakers to switchboard;
grant all on public.persona_breakers to service_role;

create policy "Members read their workspace's breakers"
    on public.persona_breakers for select to authenticated
    using (workspace_id in (select private.member_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.persona_breakers for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.persona_breakers for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard changes the workspace it entered"
    on public.persona_breakers for update to switchboard
    using (workspace_id = (select private.entered_workspace()))
    with check (workspace_id = (select private.entered_workspace()));
