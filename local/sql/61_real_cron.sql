-- Instead of 60_cron.sql where the server has loaded the real pg_cron: postgres gets what a hosted project gives it.
-- (There the extension is created by a superuser on postgres's behalf.)

create extension if not exists pg_cron;
grant usage on schema cron to postgres with grant option;
grant execute on all functions in schema cron to postgres with grant option;
grant all on all sequences in schema cron to postgres with grant option;
grant all on cron.job_run_details to postgres with grant option;
grant select on cron.job to postgres with grant option;
