-- Row-level security as supabase/policies/ says it; written by `python -m local policies`.

set lock_timeout = '5s';
set statement_timeout = '60s';

-- Who may see which contacts were called the same: members, who see the contacts.

create policy "Members read their workspace's conflicts"
    on public.contact_conflicts for select to authenticated
    using (workspace_id in (select private.member_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.contact_conflicts for select to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

create policy "Switchboard adds to the workspace it entered"
    on public.contact_conflicts for insert to switchboard
    with check (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

create policy "Switchboard changes the workspace it entered"
    on public.contact_conflicts for update to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid)
    with check (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

-- Who may see which contacts were merged: members, who see the contacts.

create policy "Members read their workspace's merges"
    on public.contact_merges for select to authenticated
    using (workspace_id in (select private.member_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.contact_merges for select to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

create policy "Switchboard adds to the workspace it entered"
    on public.contact_merges for insert to switchboard
    with check (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

create policy "Switchboard changes the workspace it entered"
    on public.contact_merges for update to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid)
    with check (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

-- Who may see the ledger of moves: nobody but the functions that write it and undo by it.

create policy "Switchboard reads the workspace it entered"
    on public.contact_moves for select to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

create policy "Switchboard adds to the workspace it entered"
    on public.contact_moves for insert to switchboard
    with check (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

drop policy "Members read tags of contacts and of the sessions they see" on public.tags;
drop policy "Switchboard adds to the workspace it entered" on public.tags;
drop policy "Switchboard deletes in the workspace it entered" on public.tags;
drop policy "Switchboard reads the workspace it entered" on public.tags;

-- Who may see tags: members, on contacts all of them, on sessions those of the sessions they may see. Tags are said among
-- members: not even the user whose session it is reads them.

create policy "Members read tags of contacts and of the sessions they see"
    on public.tags for select to authenticated
    using (
        workspace_id in (select private.member_workspaces())
        and (session_id is null
             or workspace_id in (select private.admin_workspaces())
             or session_id in (select private.own_sessions()))
    );

create policy "Switchboard reads the workspace it entered"
    on public.tags for select to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

create policy "Switchboard adds to the workspace it entered"
    on public.tags for insert to switchboard
    with check (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

create policy "Switchboard changes the workspace it entered"
    on public.tags for update to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid)
    with check (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

create policy "Switchboard deletes in the workspace it entered"
    on public.tags for delete to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);
