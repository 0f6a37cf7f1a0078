-- Who may see answer templates: members. Owners and admins change them through the functions, which enter to manage.

grant select on public.answer_templates to authenticated;
grant select, insert, update, delete on public.answer_templates to switchboard;
grant all on public.answer_templates to service_role;

create policy "Members read their workspace's answer templates"
    on public.answer_templates for select to authenticated
    using (workspace_id in (select private.member_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.answer_templates for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it manages"
    on public.answer_templates for insert to switchboard
    with check (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

create policy "Switchboard changes the workspace it manages"
    on public.answer_templates for update to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid)
    with check (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

create policy "Switchboard deletes in the workspace it manages"
    on public.answer_templates for delete to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);
