-- Who may read requests: the readers of a session that works on them, each with their own rights.

grant select on public.request_details to authenticated, contact, service_role;
