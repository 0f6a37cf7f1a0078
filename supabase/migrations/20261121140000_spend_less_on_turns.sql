-- What a turn calls, in plpgsql. Before 18 Postgres parses and plans a function in the language sql anew in every
-- statement that calls it, unless it can be inlined, and one that sets search_path cannot; what plpgsql has planned it keeps.

set lock_timeout = '5s';
set statement_timeout = '60s';

create or replace function private.uuid7()
    returns uuid
    language plpgsql
    volatile
    parallel safe
    set search_path = ''
as $$
begin
    -- RFC 9562, section 5.7: 48 bits of Unix milliseconds, then the version, then the rest of a random (version 4) id.
    return (pg_catalog.lpad(pg_catalog.to_hex((extract(epoch from pg_catalog.clock_timestamp()) * 1000)::bigint), 12, '0')
            || '7'
            || pg_catalog.substr(pg_catalog.replace(pg_catalog.gen_random_uuid()::text, '-', ''), 14))::uuid;
end;
$$;

create or replace function private.claims()
    returns jsonb
    language plpgsql
    stable
    parallel safe
    set search_path = ''
as $$
begin
    return coalesce(nullif(pg_catalog.current_setting('request.jwt.claims', true), ''), '{}')::jsonb;
end;
$$;

create or replace function private.entered_workspace()
    returns uuid
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return nullif(pg_catalog.current_setting('switchboard.workspace_id', true), '')::uuid;
end;
$$;

create or replace function private.workspace_of_space(space_id uuid)
    returns uuid
    language plpgsql
    stable
    security definer
    set search_path = ''
as $$
begin
    return (select s.workspace_id from public.spaces s where s.id = workspace_of_space.space_id and s.enabled);
end;
$$;

create or replace function private.limit_subject(address text)
    returns text
    language plpgsql
    immutable
    set search_path = ''
as $$
begin
    -- Whoever has an IPv6 address has at least a /64 of them.
    return case when address like '%:%'
                then pg_catalog.network(pg_catalog.set_masklen(address::inet, 64))::text
                else address end;
end;
$$;

create or replace function private.record_audit(verb text, object_id uuid, actor_id uuid, code text)
    returns void
    language plpgsql
    volatile
    set search_path = ''
as $$
begin
    insert into public.audit_events (workspace_id, verb, object_id, actor_id, code)
    values (private.entered_workspace(), record_audit.verb, record_audit.object_id, record_audit.actor_id, record_audit.code);
end;
$$;

create or replace function private.turn_history(conversation_id uuid, before_message uuid, message_limit integer)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return (select coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('role', h.role, 'text', h.text, 'created_at', h.created_at)
                                                 order by h.created_at, h.id), '[]')
              from (select m.id, m.role, m.text, m.created_at
                      from public.messages m
                     where m.conversation_id = turn_history.conversation_id
                       and m.id is distinct from before_message
                     order by m.created_at desc, m.id desc
                     limit message_limit) h);
end;
$$;

create or replace function private.persona_secret(persona_id uuid)
    returns text
    language plpgsql
    stable
    security definer
    set search_path = ''
as $$
begin
    return (select v.decrypted_secret
              from public.personas p
              join vault.decrypted_secrets v on v.id = p.secret_id
             where p.id = persona_secret.persona_id
               and p.workspace_id = private.entered_workspace());
end;
$$;

create or replace function private.is_member(user_id uuid)
    returns boolean
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    return exists (select
                     from public.workspace_members m
                    where m.user_id = is_member.user_id
                      and m.workspace_id = private.entered_workspace());
end;
$$;

create or replace function private.email_is_confirmed(user_id uuid, email text)
    returns boolean
    language plpgsql
    stable
    security definer
    set search_path = ''
as $$
begin
    return exists (select
                     from auth.users u
                    where u.id = email_is_confirmed.user_id
                      and pg_catalog.lower(u.email) = pg_catalog.lower(email_is_confirmed.email)
                      and u.email_confirmed_at is not null);
end;
$$;
