-- Who may see contacts by their last activity: members, for the sessions that they may see.

grant select on public.contacts_by_activity to authenticated, service_role;
