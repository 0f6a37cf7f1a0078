-- Who may see proposals: the readers of their session; drafts and details only members.

grant select (
    id, workspace_id, request_id, session_id, status, title, amount, currency, text, created_at, updated_at
) on public.proposals to contact, authenticated;
grant select on public.proposals to member;
grant select, insert, update on public.proposals to switchboard;
grant all on public.proposals to service_role;

create policy "Admins read all proposals, users and agents their own"
    on public.proposals for select to authenticated
    using (
        workspace_id in (select private.admin_workspaces())
        or (session_id in (select private.own_sessions())
            and (status <> 'draft' or workspace_id in (select private.member_workspaces())))
    );

create policy "Only members read the columns for members"
    on public.proposals as restrictive for select to member
    using (workspace_id in (select private.member_workspaces()));

create policy "Contacts read what was proposed to them"
    on public.proposals for select to contact
    using (
        status <> 'draft'
        and session_id in (select s.id from public.sessions s where s.conversation_id = (select private.token_conversation()))
    );

create policy "Switchboard reads the workspace it entered"
    on public.proposals for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.proposals for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard changes the workspace it entered"
    on public.proposals for update to switchboard
    using (workspace_id = (select private.entered_workspace()))
    with check (workspace_id = (select private.entered_workspace()));
