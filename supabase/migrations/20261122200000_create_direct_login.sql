-- A login for functions that live long and call Postgres themselves, without PostgREST between. It takes the role
-- switchboard as it connects and is good for nothing else, so a call over it stands under the same policies. Nobody can use it
-- until an operator gives it a password: whoever has that can act for any workspace, as can whoever has the signing key.

set lock_timeout = '5s';
set statement_timeout = '60s';

-- Roles belong to the cluster, not to the database: another database of the same server may have made it.
do $$
begin
    if not exists (select from pg_catalog.pg_roles where rolname = 'switchboard_login') then
        create role switchboard_login nologin noinherit;
    end if;
end
$$;

grant switchboard to switchboard_login;

-- What PostgREST applies to a request made in the role switchboard, and the lock_timeout that Supabase gives its login.
alter role switchboard_login set role = 'switchboard';
alter role switchboard_login set statement_timeout = '10s';
alter role switchboard_login set lock_timeout = '8s';

comment on role switchboard_login is 'Functions that connect to Postgres directly: becomes switchboard as it connects.';
