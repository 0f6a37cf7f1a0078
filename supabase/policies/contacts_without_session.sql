-- Who may see contacts without a session: members, for the sessions that they may see.

grant select on public.contacts_without_session to authenticated, service_role;
