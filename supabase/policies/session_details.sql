-- Who may read session details: members and users, each the sessions that they may see.

grant select on public.session_details to authenticated;
