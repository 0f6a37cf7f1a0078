-- Who may see personas' settings: members; the view reads public.personas with its reader's rights.

grant select on public.persona_settings to authenticated, service_role, switchboard;
