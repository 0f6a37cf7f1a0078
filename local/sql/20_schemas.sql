-- Schemas and the default privileges of a hosted project: whatever postgres creates in public is handed to the API's
-- roles, unless a migration revokes that first.

create schema if not exists extensions authorization postgres;
grant usage on schema extensions to anon, authenticated, service_role;

grant usage on schema public to postgres, anon, authenticated, service_role;

-- Only the first time: a migration may have taken them away since.
do $$
begin
    if to_regnamespace('auth') is null then
        alter default privileges for role postgres in schema public
            grant all on tables to postgres, anon, authenticated, service_role;
        alter default privileges for role postgres in schema public
            grant all on functions to postgres, anon, authenticated, service_role;
        alter default privileges for role postgres in schema public
            grant all on sequences to postgres, anon, authenticated, service_role;
    end if;
end
$$;

-- On hosted projects postgres may create the extensions on Supabase's list; here it is no superuser and may not, so the
-- one that needs a superuser is there already and `create extension if not exists` passes.
do $$
begin
    if exists (select from pg_catalog.pg_available_extensions where name = 'vector') then
        create extension if not exists vector with schema extensions;
    end if;
end
$$;
