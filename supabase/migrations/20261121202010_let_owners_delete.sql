-- Row-level security as supabase/policies/ says it; written by `python -m local policies`.

set lock_timeout = '5s';
set statement_timeout = '60s';

drop policy "Members read their workspace's personas" on public.personas;
drop policy "Switchboard adds to the workspace it manages" on public.personas;
drop policy "Switchboard changes the workspace it manages" on public.personas;
drop policy "Switchboard reads the workspace it entered" on public.personas;

-- Who may see personas: members. Their secrets are in Vault.

create policy "Members read their workspace's personas"
    on public.personas for select to authenticated
    using (workspace_id in (select private.member_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.personas for select to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

create policy "Switchboard adds to the workspace it manages"
    on public.personas for insert to switchboard
    with check (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

create policy "Switchboard changes the workspace it manages"
    on public.personas for update to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid)
    with check (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

create policy "Switchboard deletes in the workspace it manages"
    on public.personas for delete to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

drop policy "Members read their workspace's spaces" on public.spaces;
drop policy "Switchboard adds to the workspace it manages" on public.spaces;
drop policy "Switchboard changes the workspace it manages" on public.spaces;
drop policy "Switchboard reads the workspace it entered" on public.spaces;

-- Who may see spaces: members.

create policy "Members read their workspace's spaces"
    on public.spaces for select to authenticated
    using (workspace_id in (select private.member_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.spaces for select to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

create policy "Switchboard adds to the workspace it manages"
    on public.spaces for insert to switchboard
    with check (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

create policy "Switchboard changes the workspace it manages"
    on public.spaces for update to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid)
    with check (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

create policy "Switchboard deletes in the workspace it manages"
    on public.spaces for delete to switchboard
    using (workspace_id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

drop policy "Members read their workspaces" on public.workspaces;
drop policy "Switchboard adds to the workspace it manages" on public.workspaces;
drop policy "Switchboard changes the workspace it manages" on public.workspaces;
drop policy "Switchboard reads the workspace it entered" on public.workspaces;

-- Who may see a workspace: its members. Owners and admins change it through the functions, which enter it to manage it.

create policy "Members read their workspaces"
    on public.workspaces for select to authenticated
    using (id in (select private.member_workspaces()));

create policy "Switchboard reads the workspace it entered"
    on public.workspaces for select to switchboard
    using (id = nullif((select current_setting('switchboard.workspace_id', true)), '')::uuid);

create policy "Switchboard adds to the workspace it manages"
    on public.workspaces for insert to switchboard
    with check (id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

create policy "Switchboard changes the workspace it manages"
    on public.workspaces for update to switchboard
    using (id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid)
    with check (id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);

create policy "Switchboard deletes the workspace it manages"
    on public.workspaces for delete to switchboard
    using (id = nullif((select current_setting('switchboard.managed_workspace_id', true)), '')::uuid);
