-- The settings that management changes, where the migration that brings them has not run.

set lock_timeout = '5s';
set statement_timeout = '60s';

do $$
begin
    if pg_catalog.to_regtype('public.turn_policy') is null then
        create type public.turn_policy as enum ('refuse', 'interrupt');
        comment on type public.turn_policy is 'What becomes of a message while the last one is answered. refuse: 409; interrupt: the answer is cancelled.';
    end if;
end
$$;

alter table public.workspaces
    add column if not exists messages_per_minute_by_contact integer not null default 60,
    add column if not exists messages_per_minute_by_user    integer not null default 120,
    add column if not exists messages_per_minute_by_space   integer not null default 6000,
    add column if not exists messages_per_minute_by_address integer not null default 600;

alter table public.personas
    add column if not exists turn_policy      public.turn_policy not null default 'refuse',
    add column if not exists breaker_failures integer            not null default 5,
    add column if not exists breaker_seconds  integer            not null default 30;
