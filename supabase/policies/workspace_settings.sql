-- Who may see workspaces' settings: members; the view reads public.workspaces with its reader's rights.

grant select on public.workspace_settings to authenticated, service_role, switchboard;
