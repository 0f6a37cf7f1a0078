-- Who may see deliveries: admins and owners; the view reads its tables with its reader's rights.

grant select on public.event_delivery_details to authenticated, service_role;
