-- Who may see contacts' details: members; the view reads with its reader's rights.

grant select on public.contact_details to authenticated, service_role, switchboard;
