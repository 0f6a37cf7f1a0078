-- The roles that every Supabase project has, with the attributes and time limits of a hosted one.
-- Applied as the superuser supabase_admin. Roles belong to the whole server, so each create is guarded.

do $$
declare
    wanted record;
begin
    for wanted in
        select * from (values
            ('anon', 'nologin noinherit'),
            ('authenticated', 'nologin noinherit'),
            ('service_role', 'nologin noinherit bypassrls'),
            ('authenticator', 'login noinherit'),
            ('supabase_auth_admin', 'login noinherit createrole'),
            -- Not a superuser, exactly as hosted: what a migration may not do there, it may not do here.
            ('postgres', 'login createrole createdb replication bypassrls')
        ) as role (name, attributes)
    loop
        if not exists (select from pg_catalog.pg_roles where rolname = wanted.name) then
            execute format('create role %I %s', wanted.name, wanted.attributes);
        end if;
    end loop;
end
$$;

grant anon, authenticated, service_role to authenticator;
grant anon, authenticated, service_role, authenticator to postgres with admin option;
grant pg_monitor, pg_read_all_data, pg_signal_backend to postgres;

alter role anon set statement_timeout = '3s';
alter role authenticated set statement_timeout = '8s';
alter role authenticator set statement_timeout = '8s';
alter role authenticator set lock_timeout = '8s';
alter role supabase_auth_admin set search_path = 'auth';
alter role postgres set search_path = "$user", public, extensions;
-- Hosted, supautils.privileged_role_allowed_configs lets postgres set these.
grant set on parameter pgrst.db_pre_request, log_min_messages to postgres;

do $$
begin
    execute format('alter database %I owner to postgres', current_database());
end
$$;
