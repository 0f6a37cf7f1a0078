-- Who may read session details: members, each the sessions that they may see.

grant select on public.session_details to member;
