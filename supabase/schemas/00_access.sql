-- Everything starts closed. Hosted projects hand new public objects to the API roles; here nobody gets
-- anything that a migration does not grant by name.

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

-- A login for functions that live long and call Postgres themselves, without PostgREST between. It takes the role
-- switchboard as it connects and is good for nothing else, so a call over it stands under the same policies. Nobody can use it
-- until an operator gives it a password: whoever has that can act for any workspace, as can whoever has the signing key.

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

-- Whoever has the password of switchboard_login can send any SQL. With a temporary schema of their own that was enough to
-- become the owner: every search_path begins with pg_temp, an empty one too, so a domain pg_temp.uuid is what `::uuid` in a
-- security definer function means, and its check runs as postgres. Nothing of ours makes temporary objects.

-- Every database gives this right to public. All who are there keep it by name, but for our own roles.
do $$
declare
    other name;
begin
    execute format('revoke temporary on database %I from public', current_database());
    for other in
        select rolname from pg_catalog.pg_roles
         where rolname not in ('contact', 'switchboard', 'switchboard_login') and rolname not like 'pg\_%' and not rolsuper
    loop
        execute format('grant temporary on database %I to %I', current_database(), other);
    end loop;
end
$$;

create function private.uuid7()
    returns uuid language plpgsql parallel safe set search_path = ''
as $$
begin
    -- RFC 9562, section 5.7: 48 bits of Unix milliseconds, then the version, then the rest of a random (version 4) id.
    return (lpad(to_hex((date_part('epoch', clock_timestamp()) * 1000)::bigint), 12, '0')
            || '7' || substr(gen_random_uuid()::text, 16))::uuid;
end;
$$;
comment on function private.uuid7 is 'A time-ordered UUID (version 7); Postgres has its own only from 18 on.';

create function private.claims()
    returns jsonb language plpgsql stable parallel safe set search_path = ''
as $$
begin
    return coalesce(nullif(current_setting('request.jwt.claims', true), ''), '{}')::jsonb;
end;
$$;
comment on function private.claims is 'The verified claims of the caller''s token, as PostgREST sets them; {} where there is none.';

create function private.token_conversation()
    returns uuid language plpgsql stable security definer set search_path = ''
as $$
declare
    claims       constant jsonb := private.claims();
    conversation uuid;
    contact      uuid;
begin
    select c.id, c.contact_id into conversation, contact
      from public.conversations c
     where c.id = (claims ->> 'conversation_id')::uuid;
    -- It may have moved with the token's contact. One that was the contact's only while two were one is not the token's.
    return case when contact = (claims ->> 'contact_id')::uuid
                  or contact = private.standing_contact((claims ->> 'contact_id')::uuid) then conversation end;
end;
$$;
comment on function private.token_conversation is 'The one conversation a contact token is for, while it is the contact''s or that of the one that stands for it.';

create function private.verified_contact()
    returns uuid language sql stable set search_path = ''
as $$
    select case when private.claims() ->> 'proof' = 'verified' then (private.claims() ->> 'contact_id')::uuid end;
$$;
comment on function private.verified_contact is 'The contact of a token that carries proof; null for one given on somebody''s word.';

create function private.enter()
    returns uuid language plpgsql set search_path = ''
as $$
declare
    scope constant jsonb := private.claims() -> 'scope';
begin
    if scope ? 'space_id' or scope ->> 'workspace_id' is null then
        -- A space is where somebody arrives, perhaps without a name. It is no way in to what others have started.
        if scope ? 'space_id' then
            raise sqlstate 'PT403' using message = 'forbidden';
        end if;
        raise sqlstate 'PT404' using message = 'space_not_found';
    end if;
    return set_config('switchboard.workspace_id', (scope ->> 'workspace_id')::uuid::text, true)::uuid;
end;
$$;
comment on function private.enter is 'Enters the workspace that the caller''s token is for, to go on with what was started; the policies for switchboard read the setting.';

create function private.require_system()
    returns void language plpgsql stable set search_path = ''
as $$
begin
    if coalesce((private.claims() -> 'scope' ->> 'system')::boolean, false) is not true then
        raise sqlstate 'PT403' using message = 'forbidden';
    end if;
end;
$$;
comment on function private.require_system is 'Refuses every token but those for work without a caller: a webhook, a job, a sweep.';

create function private.enter_workspace(workspace_id uuid)
    returns void language plpgsql set search_path = ''
as $$
begin
    perform private.require_system();
    perform set_config('switchboard.workspace_id', enter_workspace.workspace_id::text, true);
end;
$$;
comment on function private.enter_workspace is 'Enters a workspace that a definer step found; system scope only.';

create function private.entered_workspace()
    returns uuid language plpgsql stable set search_path = ''
as $$
begin
    return nullif(current_setting('switchboard.workspace_id', true), '')::uuid;
end;
$$;
comment on function private.entered_workspace is 'The workspace this transaction entered; null before.';

create function private.refuse(refusal jsonb)
    returns jsonb language plpgsql set search_path = ''
as $$
begin
    perform set_config('response.status', refusal ->> 'status', true);
    if refusal ? 'retry_after' then
        perform set_config('response.headers',
            jsonb_build_array(jsonb_build_object('Retry-After', refusal ->> 'retry_after'))::text, true);
    end if;
    return refusal - 'status';
end;
$$;
comment on function private.refuse is 'Answers {status, code, title, …} with that status while the transaction commits: counters and audit keep what happened.';

create function private.raise_refusal(refusal jsonb)
    returns void language plpgsql set search_path = ''
as $$
begin
    raise sqlstate 'SB001' using message = refusal ->> 'code', detail = refusal::text;
end;
$$;
comment on function private.raise_refusal is 'Undoes what the surrounding block wrote. The domain function catches SB001, counts, and returns private.refuse() of its detail.';

create function private.workspace_of(noun text, object_id uuid)
    returns uuid language sql stable security definer set search_path = ''
as $$
    select case noun
               when 'workspace' then object_id
               when 'space'     then (select s.workspace_id from public.spaces s where s.id = object_id)
               when 'persona'   then (select p.workspace_id from public.personas p where p.id = object_id)
           end;
$$;
comment on function private.workspace_of is 'The workspace of a workspace, space or persona that somebody wants to manage; null for any other id.';

create function private.calling_user()
    returns uuid language sql stable set search_path = ''
as $$
    select (private.claims() #>> '{caller,user_id}')::uuid;
$$;
comment on function private.calling_user is 'The user on whose behalf a function of ours calls; null for operators'' commands.';

create function private.page(items jsonb, page_size integer, key text)
    returns jsonb language sql immutable set search_path = ''
as $$
    -- One more was asked for than fits: whether it came says whether there are more.
    select case when jsonb_array_length(items) > page_size
                then jsonb_build_object('items', items - page_size, 'next_cursor', items -> (page_size - 1) ->> key)
                else jsonb_build_object('items', coalesce(items, '[]'), 'next_cursor', null) end;
$$;
comment on function private.page is '{items, next_cursor} of a list that was read with one more than the page holds.';

grant execute on function
    private.uuid7, private.workspace_of, private.calling_user
    to service_role, switchboard;

grant execute on function
    private.claims
    to authenticated, contact, service_role, switchboard;

grant execute on function
    private.token_conversation, private.verified_contact
    to contact;

grant execute on function
    private.enter, private.require_system, private.enter_workspace, private.entered_workspace, private.refuse,
    private.raise_refusal
    to switchboard;

grant execute on function
    private.page
    to authenticated, service_role;
