-- Who may read session details: members, each the sessions that they may see; operators' commands, all.

grant select on public.session_details to member, service_role;
