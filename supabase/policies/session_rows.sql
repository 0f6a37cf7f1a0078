-- Who may read all rows of sessions in one shape: the functions, of the workspace that they entered.

grant select on public.session_rows to switchboard, service_role;
