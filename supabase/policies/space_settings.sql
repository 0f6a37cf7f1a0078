-- Who may see spaces' settings: members; the view reads public.spaces with its reader's rights.

grant select on public.space_settings to authenticated, service_role, switchboard;
