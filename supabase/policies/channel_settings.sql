-- Who may see channels' settings: members; the view reads public.channels with its reader's rights.

grant select on public.channel_settings to authenticated, service_role, switchboard;
