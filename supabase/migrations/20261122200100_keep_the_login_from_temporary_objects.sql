-- Whoever has the password of switchboard_login can send any SQL. With a temporary schema of their own that was enough to
-- become the owner: every search_path begins with pg_temp, an empty one too, so a domain pg_temp.uuid is what `::uuid` in a
-- security definer function means, and its check runs as postgres. Nothing of ours makes temporary objects.

set lock_timeout = '5s';
set statement_timeout = '60s';

-- Every database gives this right to public. All who are there keep it by name, but for our own roles.
do $$
declare
    other name;
begin
    execute pg_catalog.format('revoke temporary on database %I from public', current_database());
    for other in
        select rolname from pg_catalog.pg_roles
         where rolname not in ('contact', 'switchboard', 'switchboard_login') and rolname not like 'pg\_%' and not rolsuper
    loop
        execute pg_catalog.format('grant temporary on database %I to %I', current_database(), other);
    end loop;
end
$$;
