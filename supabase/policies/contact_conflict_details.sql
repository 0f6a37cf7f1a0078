-- Who may see conflicts with their contacts: members.

grant select on public.contact_conflict_details to authenticated, service_role, switchboard;
