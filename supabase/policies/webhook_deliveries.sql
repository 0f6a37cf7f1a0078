-- Who may see deliveries: admins and owners; the view reads its tables with its reader's rights.

grant select on public.webhook_deliveries to authenticated, service_role;
