-- Who may see requests: the readers of a session that works on them. Their details are for members, and what
-- a session with proof works on is hidden from a conversation without.

grant select (
    id, workspace_id, session_id, origin, destination, departs_at, passengers, created_at, updated_at
) on public.requests to contact, authenticated;
grant select on public.requests to member;
grant select, insert, update on public.requests to switchboard;
grant all on public.requests to service_role;

create policy "Admins read all requests, users and agents their own"
    on public.requests for select to authenticated
    using (workspace_id in (select private.admin_workspaces()) or id in (select private.own_requests()));

create policy "Only members read the columns for members"
    on public.requests as restrictive for select to member
    using (workspace_id in (select private.member_workspaces()));

create policy "Contacts read the requests of their conversation's sessions"
    on public.requests for select to contact
    using (id in (select private.token_requests()));

create policy "Switchboard reads the workspace it entered"
    on public.requests for select to switchboard
    using (workspace_id = (select private.entered_workspace()));

create policy "Switchboard adds to the workspace it entered"
    on public.requests for insert to switchboard
    with check (workspace_id = (select private.entered_workspace()));

create policy "Switchboard changes the workspace it entered"
    on public.requests for update to switchboard
    using (workspace_id = (select private.entered_workspace()))
    with check (workspace_id = (select private.entered_workspace()));
