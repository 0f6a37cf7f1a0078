-- Everything starts closed. Hosted projects hand new public objects to the API roles; here nobody gets
-- anything that a migration does not grant by name.

set lock_timeout = '5s';
set statement_timeout = '60s';

alter default privileges for role postgres in schema public
    revoke all on tables from anon, authenticated, service_role;
alter default privileges for role postgres in schema public
    revoke all on sequences from anon, authenticated, service_role;
alter default privileges for role postgres in schema public
    revoke all on functions from anon, authenticated, service_role;
-- Without "in schema": only so does it take away what every new function grants to public.
alter default privileges for role postgres
    revoke execute on functions from public;

-- Roles belong to the cluster, not to the database: another database of the same server may have made them.
do $$
begin
    if not exists (select from pg_catalog.pg_roles where rolname = 'contact') then
        create role contact nologin;
    end if;
    if not exists (select from pg_catalog.pg_roles where rolname = 'switchboard') then
        create role switchboard nologin;
    end if;
end
$$;

grant contact, switchboard to authenticator;

-- PostgREST applies these to every request made in the role.
alter role contact     set statement_timeout = '5s';
alter role switchboard set statement_timeout = '10s';

comment on role contact     is 'An outside person with a contact token: reads one conversation.';
comment on role switchboard is 'The functions of Switchboard: calls the domain functions, sees only the workspace it entered.';

create schema private;
comment on schema private is 'Steps and helpers of the domain functions; never exposed over the API.';

revoke all on schema private from public;
grant usage on schema private to contact, authenticated, switchboard, service_role;
grant usage on schema public  to contact, switchboard;

create function private.uuid7()
    returns uuid
    language sql
    volatile
    parallel safe
    set search_path = ''
as $$
    -- RFC 9562, section 5.7: 48 bits of Unix milliseconds, then the version, then the rest of a random (version 4) id.
    select (pg_catalog.lpad(pg_catalog.to_hex((extract(epoch from pg_catalog.clock_timestamp()) * 1000)::bigint), 12, '0')
            || '7'
            || pg_catalog.substr(pg_catalog.replace(pg_catalog.gen_random_uuid()::text, '-', ''), 14))::uuid;
$$;
comment on function private.uuid7() is 'A time-ordered UUID (version 7); Postgres has its own only from 18 on.';
grant execute on function private.uuid7() to switchboard, service_role;

create function private.claims()
    returns jsonb
    language sql
    stable
    parallel safe
    set search_path = ''
as $$
    select coalesce(nullif(pg_catalog.current_setting('request.jwt.claims', true), ''), '{}')::jsonb;
$$;
comment on function private.claims() is 'The verified claims of the caller''s token, as PostgREST sets them; {} where there is none.';
grant execute on function private.claims() to contact, authenticated, switchboard, service_role;
