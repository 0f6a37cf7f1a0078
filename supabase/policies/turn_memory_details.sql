-- Who may see what a turn knew, in words: members; the view reads its tables with its reader's rights.

grant select on public.turn_memory_details to authenticated, service_role;
