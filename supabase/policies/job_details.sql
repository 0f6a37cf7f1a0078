-- Who may see the queue: admins and owners; the view reads public.jobs with its reader's rights.

grant select on public.job_details to authenticated, service_role;
