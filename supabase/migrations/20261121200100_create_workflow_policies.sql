-- Row-level security as supabase/policies/ says it; written by `python -m local policies`.

set lock_timeout = '5s';
set statement_timeout = '60s';

-- Who may see workflows: the built-in ones everybody who signed in, a workspace's own its members.

create policy "Users read built-in workflows, members their workspace's"
    on public.workflow_transitions for select to authenticated
    using (workspace_id is null or workspace_id in (select private.member_workspaces()));

create policy "Switchboard reads built-in ones and the workspace it entered"
    on public.workflow_transitions for select to switchboard
    using (
        coalesce(workspace_id, nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid)
        = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid
    );

create policy "Switchboard adds to the workspace it manages"
    on public.workflow_transitions for insert to switchboard
    with check (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

create policy "Switchboard deletes in the workspace it manages"
    on public.workflow_transitions for delete to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

-- Who may see requests: whoever may see a session that works on one.

create policy "Admins read all requests, users and agents their own"
    on public.requests for select to authenticated
    using (workspace_id in (select private.admin_workspaces()) or id in (select private.own_requests()));

create policy "Contacts read the requests of their conversation's sessions"
    on public.requests for select to contact
    using (
        id in (select s.request_id from public.sessions s where s.conversation_id = (select private.token_conversation()))
        or session_id in (select s.id from public.sessions s where s.conversation_id = (select private.token_conversation()))
    );

create policy "Switchboard reads the workspace it entered"
    on public.requests for select to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

create policy "Switchboard adds to the workspace it entered"
    on public.requests for insert to switchboard
    with check (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

create policy "Switchboard changes the workspace it entered"
    on public.requests for update to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid)
    with check (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

-- Who may see quotes: members who see the session that asked, or one that works on the request. Whose session it is does
-- not: what operators ask is between them and the workspace.

create policy "Admins read all quotes, agents those of their sessions"
    on public.quotes for select to authenticated
    using (
        workspace_id in (select private.member_workspaces())
        and (workspace_id in (select private.admin_workspaces())
             or session_id in (select private.own_sessions())
             or request_id in (select private.own_requests()))
    );

create policy "Switchboard reads the workspace it entered"
    on public.quotes for select to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

create policy "Switchboard adds to the workspace it entered"
    on public.quotes for insert to switchboard
    with check (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

create policy "Switchboard changes the workspace it entered"
    on public.quotes for update to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid)
    with check (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

-- Who may see proposals: whoever may see their session, and drafts only members.

create policy "Admins read all proposals, users and agents their own"
    on public.proposals for select to authenticated
    using (
        workspace_id in (select private.admin_workspaces())
        or (session_id in (select private.own_sessions())
            and (status <> 'draft' or workspace_id in (select private.member_workspaces())))
    );

create policy "Contacts read what was proposed to them"
    on public.proposals for select to contact
    using (
        status <> 'draft'
        and session_id in (select s.id from public.sessions s where s.conversation_id = (select private.token_conversation()))
    );

create policy "Switchboard reads the workspace it entered"
    on public.proposals for select to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

create policy "Switchboard adds to the workspace it entered"
    on public.proposals for insert to switchboard
    with check (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

create policy "Switchboard changes the workspace it entered"
    on public.proposals for update to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid)
    with check (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

-- Who may see by what other systems know a session: the members who see the session.

create policy "Members read the references of the sessions they see"
    on public.session_refs for select to authenticated
    using (
        workspace_id in (select private.member_workspaces())
        and (workspace_id in (select private.admin_workspaces()) or session_id in (select private.own_sessions()))
    );

create policy "Switchboard reads the workspace it entered"
    on public.session_refs for select to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

create policy "Switchboard adds to the workspace it entered"
    on public.session_refs for insert to switchboard
    with check (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

create policy "Switchboard deletes in the workspace it entered"
    on public.session_refs for delete to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

-- Who may see which steps a session took: the members who see the session.

create policy "Members read the steps of the sessions they see"
    on public.workflow_steps for select to authenticated
    using (
        workspace_id in (select private.member_workspaces())
        and (workspace_id in (select private.admin_workspaces()) or session_id in (select private.own_sessions()))
    );

create policy "Switchboard reads the workspace it entered"
    on public.workflow_steps for select to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

create policy "Switchboard adds to the workspace it entered"
    on public.workflow_steps for insert to switchboard
    with check (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);
