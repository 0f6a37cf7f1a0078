-- Who may see what went wrong with turns: admins and owners; the view reads its tables with its reader's rights.

grant select on public.turn_error_details to authenticated, service_role;
