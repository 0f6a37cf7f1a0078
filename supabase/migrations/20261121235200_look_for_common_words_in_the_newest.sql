-- A word that is in a good part of all messages was looked up in the whole index of words before it was known to be common,
-- which took the longer the more messages there were. Statistics say so beforehand, and the newest sessions prove it. It is
-- volatile because nothing else may ask the planner; it changes nothing.

set lock_timeout = '5s';
set statement_timeout = '60s';

create or replace function private.sessions_saying(workspace_id uuid, words text, most integer default 10000)
    returns uuid[]
    language plpgsql
    volatile
    security definer
    set search_path = ''
as $$
declare
    asked constant tsquery := pg_catalog.websearch_to_tsquery('pg_catalog.simple'::regconfig, words);
    guessed        json;
    found_sessions uuid[];
    matches        integer;
begin
    if workspace_id not in (select private.admin_workspaces()) or pg_catalog.numnode(asked) = 0 then
        return '{}'::uuid[];
    end if;
    execute pg_catalog.format($q$
        explain (format json)
        select from public.messages m
         where pg_catalog.array_to_tsvector(array['workspace:' || m.workspace_id::text])
               || pg_catalog.to_tsvector('pg_catalog.simple'::regconfig, pg_catalog.left(m.text, 50000))
               @@ (pg_catalog.quote_literal('workspace:' || %L)::tsquery && %L::tsquery)$q$, workspace_id, asked)
       into guessed;
    if (guessed #>> '{0,Plan,Plan Rows}')::numeric > (
           select least(most, c.reltuples / 20) from pg_catalog.pg_class c where c.oid = 'public.messages'::regclass) then
        -- Likely common. It is, as far as a page goes, if one in four of the newest sessions has it.
        select pg_catalog.count(*) into matches
          from (select
                  from (select s.id
                          from public.sessions s
                         where s.workspace_id = sessions_saying.workspace_id
                         order by s.created_at desc, s.id desc
                         limit 200) s
                 where (select true
                          from public.messages m
                         where m.session_id = s.id
                           and pg_catalog.to_tsvector('pg_catalog.simple'::regconfig, pg_catalog.left(m.text, 50000)) @@ asked
                         limit 1)
                 limit 50) f;
        if matches = 50 then
            return null;
        end if;
    end if;
    select pg_catalog.array_agg(distinct m.session_id), pg_catalog.count(*)
      into found_sessions, matches
      from (select m.session_id
              from public.messages m
             where pg_catalog.array_to_tsvector(array['workspace:' || m.workspace_id::text])
                   || pg_catalog.to_tsvector('pg_catalog.simple'::regconfig, pg_catalog.left(m.text, 50000))
                   @@ (pg_catalog.quote_literal('workspace:' || sessions_saying.workspace_id)::tsquery && asked)
             limit most + 1) m;
    return case when matches > most then null else coalesce(found_sessions, '{}') end;
end;
$$;
comment on function private.sessions_saying(uuid, text, integer) is
    'The sessions of a workspace in whose messages these words are, for its owners and admins; null where more messages have them than are looked through, or one in four of the newest sessions.';
