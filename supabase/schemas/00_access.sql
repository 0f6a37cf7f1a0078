-- Roles, scopes and refusals: what every other file builds on. Everything starts closed: hosted projects grant new objects
-- of the schema public to the API's roles, and these defaults are revoked here.

alter default privileges for role postgres in schema public
    revoke all on tables from anon, authenticated, service_role;
alter default privileges for role postgres in schema public
    revoke all on sequences from anon, authenticated, service_role;
alter default privileges for role postgres in schema public
    revoke all on functions from anon, authenticated, service_role;
-- Without "in schema", because a default privilege per schema cannot revoke the built-in grant to public.
alter default privileges for role postgres
    revoke execute on functions from public;

-- Roles belong to the cluster: another database of the same server may have created them.
do $$
begin
    if not exists (select from pg_catalog.pg_roles where rolname = 'contact') then
        create role contact nologin;
    end if;
    if not exists (select from pg_catalog.pg_roles where rolname = 'switchboard') then
        create role switchboard nologin;
    end if;
    if not exists (select from pg_catalog.pg_roles where rolname = 'member') then
        create role member nologin;
    end if;
end
$$;

grant contact, switchboard, member to authenticator;
-- Inherited: its policies and grants.
grant authenticated to member;

-- PostgREST applies these to every request made in the role.
alter role contact     set statement_timeout = '5s';
alter role switchboard set statement_timeout = '10s';
-- A list is planned for the filters' values: PostgREST prepares its statements, and a plan for any value reads a rare tag's
-- contacts as if they were many.
alter role authenticated set plan_cache_mode = 'force_custom_plan';
alter role service_role  set plan_cache_mode = 'force_custom_plan';

-- Postgres would log errors with the values of rows and parameters, and slow statements with theirs: a person's email, a message.
-- The functions log the codes of errors, and PostgREST answers with them. A role that logs in keeps its setting as it takes another.
-- Hosted, supautils lets postgres set it (see docs/operations.md, "Logs").
alter role authenticator set log_min_messages = 'fatal';

comment on role contact is 'An outside person with a contact token: reads one conversation.';
comment on role member is 'A signed-in user who is a member of a workspace: reads, of the workspaces that they are a member of, also the columns for members. check_request() sets it.';
comment on role switchboard is 'The functions of Switchboard: executes the domain functions and sees only the entered workspace.';

create schema private;
comment on schema private is 'Steps and helpers of the domain functions; not exposed over the API.';

revoke all on schema private from public;
grant usage on schema private to contact, authenticated, switchboard, service_role;
grant usage on schema public  to contact, switchboard;

-- The login of the functions. It has no rights of its own and inherits none. It takes the role switchboard as it connects,
-- and for the SQL functions that callers may execute themselves, the role contact or authenticated for one transaction. It
-- cannot be used until an operator sets a password, whose holder can act for any workspace, as can the holder of the signing
-- key.

-- Roles belong to the cluster: another database of the same server may have created it.
do $$
begin
    if not exists (select from pg_catalog.pg_roles where rolname = 'switchboard_login') then
        create role switchboard_login nologin noinherit;
    end if;
end
$$;

grant switchboard, contact, authenticated to switchboard_login;

-- The time limits that PostgREST applies to the role switchboard, and Supabase to PostgREST's login.
alter role switchboard_login set role = 'switchboard';
alter role switchboard_login set log_min_messages = 'fatal';
alter role switchboard_login set statement_timeout = '10s';
alter role switchboard_login set lock_timeout = '8s';

comment on role switchboard_login is 'The login of the functions: becomes switchboard as it connects.';

-- The password of switchboard_login allows any SQL. With a temporary schema its holder could become the owner: each
-- search_path begins with pg_temp, even an empty one, so that `::uuid` in a security definer function would mean a domain
-- pg_temp.uuid, whose check runs as postgres. No function here creates temporary objects.

-- Every database grants this to public. All existing roles keep it by name, except those that the login can take.
do $$
declare
    other name;
begin
    execute format('revoke temporary on database %I from public', current_database());
    for other in
        select rolname from pg_catalog.pg_roles
         where rolname not in ('contact', 'authenticated', 'member', 'switchboard', 'switchboard_login') and rolname not like 'pg\_%' and not rolsuper
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
comment on function private.uuid7 is 'A time-ordered UUID (version 7). Postgres has its own only since 18.';

create function private.claims()
    returns jsonb language plpgsql stable parallel safe set search_path = ''
as $$
begin
    return coalesce(nullif(current_setting('request.jwt.claims', true), ''), '{}')::jsonb;
end;
$$;
comment on function private.claims is 'The verified claims of the caller''s token; {} without a token.';

create function private.token_is_revoked()
    returns boolean language plpgsql stable security definer set search_path = ''
as $$
declare
    claims    constant jsonb       := private.claims();
    -- The functions pass on the claims of their caller's token.
    bearer    constant jsonb       := coalesce(claims -> 'caller', claims);
    issued_at constant timestamptz := to_timestamp(coalesce((bearer ->> 'iat')::double precision, 0));
begin
    if not bearer ? 'contact_id' then
        return false;
    end if;
    -- Of the token's own contact: signing out reaches all contacts that are merged, so no merge and no undo revives a token.
    return not exists (select
                         from public.contacts c
                        where c.id = (bearer ->> 'contact_id')::uuid
                          and (c.tokens_revoked_at is null or c.tokens_revoked_at <= issued_at))
        or (bearer ? 'space_id'
            and not exists (select
                              from public.spaces s
                             where s.id = (bearer ->> 'space_id')::uuid
                               and (s.tokens_revoked_at is null or s.tokens_revoked_at <= issued_at)));
end;
$$;
comment on function private.token_is_revoked is 'Whether the caller''s contact token was issued before its contact or its space revoked tokens, or one of them is gone. False without a contact token.';

create function private.require_valid_token()
    returns void language plpgsql stable set search_path = ''
as $$
begin
    if private.token_is_revoked() then
        raise sqlstate 'PT401' using message = 'token_revoked';
    end if;
end;
$$;
comment on function private.require_valid_token is 'Refuses a revoked contact token.';

create function private.token_conversation()
    returns uuid language plpgsql stable security definer set search_path = ''
as $$
declare
    claims       constant jsonb := private.claims();
    conversation uuid;
    contact      uuid;
begin
    perform private.require_valid_token();
    select c.id, c.contact_id into conversation, contact
      from public.conversations c
     where c.id = (claims ->> 'conversation_id')::uuid;
    -- It may have moved in a merge. A conversation that belonged to the contact only during an undone merge is not returned.
    return case when contact = (claims ->> 'contact_id')::uuid
                  or contact = private.merge_target((claims ->> 'contact_id')::uuid) then conversation end;
end;
$$;
comment on function private.token_conversation is 'The conversation that the contact token is for, as long as it belongs to the token''s contact or to the contact that this one was merged into. Refuses a revoked token.';

create function private.verified_contact()
    returns uuid language plpgsql stable set search_path = ''
as $$
declare
    claims constant jsonb := private.claims();
begin
    perform private.require_valid_token();
    return case when claims ->> 'proof' = 'verified' then (claims ->> 'contact_id')::uuid end;
end;
$$;
comment on function private.verified_contact is 'The contact of a token with proof; null for a token without proof. Refuses a revoked token.';

create function private.enter()
    returns uuid language plpgsql set search_path = ''
as $$
declare
    scope constant jsonb := private.claims() -> 'scope';
begin
    if scope ? 'space_id' or scope ->> 'workspace_id' is null then
        -- The scope of a space is for arrivals; it does not give access to what others have started.
        if scope ? 'space_id' then
            raise sqlstate 'PT403' using message = 'forbidden';
        end if;
        raise sqlstate 'PT404' using message = 'space_not_found';
    end if;
    return set_config('switchboard.workspace_id', (scope ->> 'workspace_id')::uuid::text, true)::uuid;
end;
$$;
comment on function private.enter is 'Enters the workspace of the caller''s scope; the policies for switchboard read the setting.';

create function private.is_owner()
    returns boolean language plpgsql stable set search_path = ''
as $$
begin
    -- A login, not a role that it takes: a definer function runs as postgres for every caller.
    return private.claims() = '{}' and pg_has_role(session_user, 'postgres', 'member');
end;
$$;
comment on function private.is_owner is 'Whether the database''s owner calls, in a session of its own: an operator with psql, pg_cron.';

create function private.require_system()
    returns void language plpgsql stable set search_path = ''
as $$
begin
    if coalesce((private.claims() -> 'scope' ->> 'system')::boolean, false) is not true
       and private.claims() ->> 'role' is distinct from 'service_role'
       and not private.is_owner() then
        raise sqlstate 'PT403' using message = 'forbidden';
    end if;
end;
$$;
comment on function private.require_system is 'Refuses every scope except that of work without a caller (a webhook, a job, a sweep), the service role, and the database''s owner.';

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
comment on function private.entered_workspace is 'The workspace that this transaction entered; null before.';

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
comment on function private.refuse is 'Returns {code, …} with the given status while the transaction commits, so that counters and audit keep the attempt.';

create function private.raise_refusal(refusal jsonb)
    returns void language plpgsql set search_path = ''
as $$
begin
    raise sqlstate 'SB001' using message = refusal ->> 'code', detail = refusal::text;
end;
$$;
comment on function private.raise_refusal is 'Rolls back the writes of the surrounding block. The domain function catches SB001, counts the refusal, and returns it with private.refuse().';

create function public.check_request()
    returns void language plpgsql stable set search_path = ''
as $$
declare
    headers constant jsonb := nullif(current_setting('request.headers', true), '')::jsonb;
begin
    -- The policies show such a key nothing; this tells its holder why.
    if current_user = 'authenticated' then
        perform private.require_valid_key('query');
    end if;
    if current_user = 'authenticated' and headers ->> 'read-as' is distinct from 'user' then
        -- A statement of its own, because only this role may execute the function.
        if exists (select from private.member_workspaces()) then
            perform set_config('role', 'member', true);
        end if;
    end if;
    -- The planner's estimates count the rows of all tenants.
    if current_user <> 'service_role'
       and headers ->> 'prefer' ~* 'count\s*=\s*"?(planned|estimated)' then
        raise sqlstate 'PT400' using message = 'count_not_allowed', detail = 'exact_count_only';
    end if;
    -- The policies refuse too, but are not asked where there is no row.
    if current_user = 'contact' then
        perform private.require_valid_token();
    end if;
end;
$$;
comment on function public.check_request is 'Called by PostgREST before each request (db_pre_request): a user who is a member of a workspace reads as member, unless with the header "Read-As: user"; API keys that are not valid, revoked contact tokens and counts that the planner estimates are refused. In public, because every role of the API executes it.';

-- Database settings of PostgREST: https://docs.postgrest.org/en/stable/references/configuration.html#in-database-configuration
alter role authenticator set pgrst.db_pre_request = 'public.check_request';
notify pgrst, 'reload config';

create function private.calling_user()
    returns uuid language sql stable set search_path = ''
as $$
    select (private.claims() #>> '{caller,user_id}')::uuid;
$$;
comment on function private.calling_user is 'The user or API key on whose behalf a function calls; null for operators'' commands.';

grant execute on function
    public.check_request
    to anon, contact, authenticated, service_role, switchboard;

grant execute on function
    private.uuid7, private.calling_user
    to service_role, switchboard;

grant execute on function
    private.claims
    to authenticated, contact, service_role, switchboard;

grant execute on function
    private.token_conversation, private.verified_contact
    to contact;

grant execute on function
    private.token_is_revoked, private.require_valid_token
    to contact, switchboard;

grant execute on function
    private.enter, private.refuse, private.raise_refusal
    to switchboard;

grant execute on function
    private.is_owner, private.require_system, private.enter_workspace, private.entered_workspace
    to service_role, switchboard;
