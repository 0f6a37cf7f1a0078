-- Who may see contacts' activity: members, for the sessions that they may see.

grant select on public.contact_activity to authenticated, service_role;
