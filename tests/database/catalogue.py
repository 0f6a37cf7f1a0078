"""What a database consists of, in a form that is the same on every Postgres version."""

import asyncpg

Catalogue = dict[str, list[tuple[object, ...]]]

# Not null is a constraint of its own from 18 on; the columns tell it everywhere. MAINTAIN is a privilege from 17 on.
_QUERIES = {
    "schemas": """
        select nspname, pg_get_userbyid(nspowner), obj_description(oid, 'pg_namespace')
          from pg_namespace where nspname in ('public', 'private')
    """,
    "tables": """
        select c.oid::regclass::text, c.relkind::text, c.relpersistence::text, c.relrowsecurity, c.relforcerowsecurity,
               pg_get_userbyid(c.relowner), obj_description(c.oid, 'pg_class')
          from pg_class c
         where c.relnamespace in ('public'::regnamespace, 'private'::regnamespace)
           and c.relkind in ('r', 'v', 'm', 'S', 'p')
    """,
    "columns": """
        select a.attrelid::regclass::text, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
               a.attidentity::text, a.attgenerated::text, pg_get_expr(d.adbin, d.adrelid),
               col_description(a.attrelid, a.attnum)
          from pg_attribute a
          join pg_class c on c.oid = a.attrelid
          left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
         where c.relnamespace in ('public'::regnamespace, 'private'::regnamespace)
           and c.relkind in ('r', 'v', 'm', 'p', 'c') and a.attnum > 0 and not a.attisdropped
    """,
    "constraints": """
        select conrelid::regclass::text, conname, contype::text, convalidated, pg_get_constraintdef(oid)
          from pg_constraint
         where connamespace in ('public'::regnamespace, 'private'::regnamespace) and contype <> 'n'
    """,
    "indexes": """
        select indrelid::regclass::text, indexrelid::regclass::text, indisvalid, pg_get_indexdef(indexrelid)
          from pg_index
          join pg_class c on c.oid = indrelid
         where c.relnamespace in ('public'::regnamespace, 'private'::regnamespace)
    """,
    "policies": """
        select schemaname, tablename, policyname, permissive, roles::text, cmd, qual, with_check from pg_policies
         where schemaname in ('public', 'private')
    """,
    "triggers": """
        select tgrelid::regclass::text, tgname, pg_get_triggerdef(t.oid)
          from pg_trigger t
          join pg_class c on c.oid = tgrelid
         where c.relnamespace in ('public'::regnamespace, 'private'::regnamespace) and not tgisinternal
    """,
    "functions": """
        select oid::regprocedure::text, pg_get_functiondef(oid), pg_get_userbyid(proowner),
               obj_description(oid, 'pg_proc')
          from pg_proc where pronamespace in ('public'::regnamespace, 'private'::regnamespace)
    """,
    "types": """
        select t.oid::regtype::text, t.typtype::text, obj_description(t.oid, 'pg_type'),
               (select string_agg(enumlabel, ',' order by enumsortorder) from pg_enum where enumtypid = t.oid)
          from pg_type t
         where t.typnamespace in ('public'::regnamespace, 'private'::regnamespace) and t.typtype in ('e', 'd', 'r')
    """,
    "grants": """
        select given.what, coalesce(nullif(a.grantee, 0)::regrole::text, 'public'), a.privilege_type, a.is_grantable
          from (select 'schema ' || nspname, nspacl from pg_namespace where nspname in ('public', 'private')
                union all
                select 'table ' || oid::regclass, coalesce(relacl, acldefault('r', relowner)) from pg_class
                 where relnamespace in ('public'::regnamespace, 'private'::regnamespace)
                   and relkind in ('r', 'v', 'm', 'p')
                union all
                select 'column ' || attrelid::regclass || '.' || attname, attacl from pg_attribute
                  join pg_class on pg_class.oid = attrelid
                 where relnamespace in ('public'::regnamespace, 'private'::regnamespace) and attacl is not null
                union all
                select 'function ' || oid::regprocedure, coalesce(proacl, acldefault('f', proowner)) from pg_proc
                 where pronamespace in ('public'::regnamespace, 'private'::regnamespace)
                union all
                select 'default ' || defaclobjtype::text || ' of ' || defaclrole::regrole || ' in '
                       || case defaclnamespace when 0 then 'all' else defaclnamespace::regnamespace::text end, defaclacl
                  from pg_default_acl where defaclnamespace in (0, 'public'::regnamespace)
               ) as given (what, acl)
         cross join aclexplode(given.acl) a
         where a.privilege_type <> 'MAINTAIN'
    """,
    "roles": """
        select rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb,
               rolname <> 'switchboard_login' and rolcanlogin as rolcanlogin, rolbypassrls, rolconfig::text,
               (select string_agg(m.member::regrole::text, ',' order by m.member::regrole::text)
                  from (select distinct member, roleid from pg_auth_members) m
                 where m.roleid = r.oid and m.member <> 'postgres'::regrole)
          from pg_roles r where rolname in ('contact', 'switchboard', 'switchboard_login')
    """,
    "schedules": "select jobname, schedule, command, username, active from cron.job",
    "history": "select version, name, statements::text from supabase_migrations.schema_migrations",
}


async def read(connection: asyncpg.Connection, leave_out: str = "") -> Catalogue:
    """Everything that migrations create, by kind and sorted, without one kind."""
    # Without a search path, names are shown with their schema.
    await connection.execute("set search_path = ''")
    try:
        return {
            kind: sorted((tuple(row) for row in await connection.fetch(query)), key=repr)
            for kind, query in _QUERIES.items()
            if kind != leave_out
        }
    finally:
        await connection.execute("reset search_path")


async def read_database(url: str, leave_out: str = "") -> Catalogue:
    """What `read` returns, over a connection of its own."""
    connection = await asyncpg.connect(url)
    try:
        return await read(connection, leave_out)
    finally:
        await connection.close()


async def rows(connection: asyncpg.Connection) -> dict[str, list[str]]:
    """What every table of public holds."""
    tables = await connection.fetch("select tablename from pg_tables where schemaname = 'public' order by tablename")
    return {
        table["tablename"]: [
            row[0] for row in await connection.fetch(f"select t::text from public.{table['tablename']} t order by 1")
        ]
        for table in tables
    }
