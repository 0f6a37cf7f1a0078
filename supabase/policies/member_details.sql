-- Who may see members with their emails: the members of the workspace.

grant select on public.member_details to authenticated, service_role;
