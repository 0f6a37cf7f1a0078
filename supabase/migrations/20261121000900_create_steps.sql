-- The steps that the domain functions are made of. Only the role switchboard runs them; none is exposed over the API.

set lock_timeout = '5s';
set statement_timeout = '60s';

-- Entering a workspace ------------------------------------------------------------------------------------------------

create function private.workspace_of_space(space_id uuid)
    returns uuid
    language sql
    stable
    security definer
    set search_path = ''
as $$
    select s.workspace_id from public.spaces s where s.id = workspace_of_space.space_id and s.enabled;
$$;
comment on function private.workspace_of_space(uuid) is 'The workspace of an enabled space; null for any other id.';

create function private.enter()
    returns uuid
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    scope     constant jsonb := private.claims() -> 'scope';
    workspace uuid           := (scope ->> 'workspace_id')::uuid;
begin
    if scope ? 'space_id' then
        workspace := private.workspace_of_space((scope ->> 'space_id')::uuid);
        if scope ? 'workspace_id' and workspace is distinct from (scope ->> 'workspace_id')::uuid then
            workspace := null;
        end if;
    end if;
    if workspace is null then
        raise sqlstate 'PT404' using message = 'space_not_found', detail = 'There is no such space.';
    end if;
    perform pg_catalog.set_config('switchboard.workspace_id', workspace::text, true);
    return workspace;
end;
$$;
comment on function private.enter() is
    'Checks the scope of the caller''s token and sets the workspace for the transaction; the policies for switchboard read it.';

create function private.require_system()
    returns void
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    if coalesce((private.claims() -> 'scope' ->> 'system')::boolean, false) is not true then
        raise sqlstate 'PT403' using message = 'forbidden', detail = 'This needs the system scope.';
    end if;
end;
$$;
comment on function private.require_system() is 'Refuses every token but those for work without a caller: a webhook, a job, a sweep.';

create function private.enter_workspace(workspace_id uuid)
    returns void
    language plpgsql
    volatile
    set search_path = ''
as $$
begin
    perform private.require_system();
    perform pg_catalog.set_config('switchboard.workspace_id', enter_workspace.workspace_id::text, true);
end;
$$;
comment on function private.enter_workspace(uuid) is 'Enters a workspace that a definer step found; system scope only.';

-- Secrets -------------------------------------------------------------------------------------------------------------

create function private.entered_workspace()
    returns uuid
    language sql
    stable
    set search_path = ''
as $$
    select nullif(pg_catalog.current_setting('switchboard.workspace_id', true), '')::uuid;
$$;
comment on function private.entered_workspace() is 'The workspace this transaction entered; null before.';

create function private.persona_secret(persona_id uuid)
    returns text
    language sql
    stable
    security definer
    set search_path = ''
as $$
    select v.decrypted_secret
      from public.personas p
      join vault.decrypted_secrets v on v.id = p.secret_id
     where p.id = persona_secret.persona_id
       and p.workspace_id = private.entered_workspace();
$$;
comment on function private.persona_secret(uuid) is 'What a persona of the entered workspace sends with its calls.';

create function private.hmac_sha256(key bytea, message bytea)
    returns bytea
    language plpgsql
    immutable
    strict
    set search_path = ''
as $$
-- RFC 2104 over the built-in sha256: pgcrypto is not on every server this runs on, and so the secret stays in the database.
declare
    block bytea := case when pg_catalog.length(key) > 64 then pg_catalog.sha256(key) else key end;
    inner_pad bytea;
    outer_pad bytea;
begin
    block     := block || pg_catalog.decode(pg_catalog.repeat('00', 64 - pg_catalog.length(block)), 'hex');
    inner_pad := block;
    outer_pad := block;
    for i in 0..63 loop
        inner_pad := pg_catalog.set_byte(inner_pad, i, pg_catalog.get_byte(block, i) # 54);
        outer_pad := pg_catalog.set_byte(outer_pad, i, pg_catalog.get_byte(block, i) # 92);
    end loop;
    return pg_catalog.sha256(outer_pad || pg_catalog.sha256(inner_pad || message));
end;
$$;
comment on function private.hmac_sha256(bytea, bytea) is 'HMAC-SHA256 of a message.';

create function private.email_is_signed(space_id uuid, email text, email_key text, email_hmac text)
    returns boolean
    language sql
    stable
    security definer
    set search_path = ''
as $$
    -- The customer's server signs what it has: the email as typed or the normalised one. Digests of digests are compared,
    -- so that the time taken tells nothing about the right one; and of hex text: what is no hex is then merely wrong.
    select coalesce(pg_catalog.bool_or(
               pg_catalog.sha256(pg_catalog.convert_to(pg_catalog.encode(private.hmac_sha256(
                   pg_catalog.convert_to(v.decrypted_secret, 'UTF8'), pg_catalog.convert_to(signed.text, 'UTF8')), 'hex'), 'UTF8'))
             = pg_catalog.sha256(pg_catalog.convert_to(pg_catalog.lower(email_is_signed.email_hmac), 'UTF8'))), false)
      from public.spaces s
      join vault.decrypted_secrets v on v.id = s.hmac_secret_id
     cross join (values (email_is_signed.email), (email_is_signed.email_key)) as signed (text)
     where s.id = email_is_signed.space_id
       and s.workspace_id = private.entered_workspace();
$$;
comment on function private.email_is_signed(uuid, text, text, text) is 'Whether an HMAC under the space''s secret stands behind an email.';

create function private.email_is_confirmed(user_id uuid, email text)
    returns boolean
    language sql
    stable
    security definer
    set search_path = ''
as $$
    select exists (select
                     from auth.users u
                    where u.id = email_is_confirmed.user_id
                      and pg_catalog.lower(u.email) = pg_catalog.lower(email_is_confirmed.email)
                      and u.email_confirmed_at is not null);
$$;
comment on function private.email_is_confirmed(uuid, text) is 'Whether a Supabase user has confirmed the email that their token names.';

create function private.is_member(user_id uuid)
    returns boolean
    language sql
    stable
    set search_path = ''
as $$
    select exists (select
                     from public.workspace_members m
                    where m.user_id = is_member.user_id
                      and m.workspace_id = private.entered_workspace());
$$;
comment on function private.is_member(uuid) is 'Whether a user is a member of the entered workspace.';

-- Refusals ------------------------------------------------------------------------------------------------------------

create function private.refuse(refusal jsonb)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
begin
    perform pg_catalog.set_config('response.status', refusal ->> 'status', true);
    if refusal ? 'retry_after' then
        perform pg_catalog.set_config('response.headers',
            pg_catalog.jsonb_build_array(pg_catalog.jsonb_build_object('Retry-After', refusal ->> 'retry_after'))::text, true);
    end if;
    return refusal - 'status';
end;
$$;
comment on function private.refuse(jsonb) is
    'Answers {status, code, title, …} with that status while the transaction commits: counters and audit keep what happened.';

create function private.raise_refusal(refusal jsonb)
    returns void
    language plpgsql
    volatile
    set search_path = ''
as $$
begin
    raise sqlstate 'SB001' using message = refusal ->> 'code', detail = refusal::text;
end;
$$;
comment on function private.raise_refusal(jsonb) is
    'Undoes what the surrounding block wrote. The domain function catches SB001, counts, and returns private.refuse() of its detail.';

-- Limits --------------------------------------------------------------------------------------------------------------

create function private.check_limit(name text, subject text, per_minute integer)
    returns void
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    seconds integer;
begin
    select pg_catalog.ceil(extract(epoch from r.window_started_at + interval '1 minute' - pg_catalog.now()))
      into seconds
      from public.rate_limits r
     where r.workspace_id = private.entered_workspace()
       and r.name = check_limit.name
       and r.subject = check_limit.subject
       and r.window_started_at > pg_catalog.now() - interval '1 minute'
       and r.taken >= check_limit.per_minute;
    if found then
        perform private.raise_refusal(pg_catalog.jsonb_build_object(
            'status', 429, 'code', 'rate_limited', 'title', 'Too many requests.', 'retry_after', greatest(seconds, 1),
            'limit', name, 'subject', subject));
    end if;
end;
$$;
comment on function private.check_limit(text, text, integer) is 'Refuses early, without a lock, what a used-up limit would refuse in the end.';

create function private.take_limit(name text, subject text, per_minute integer)
    returns void
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    used    integer;
    seconds integer;
begin
    insert into public.rate_limits as r (workspace_id, name, subject, taken)
    values (private.entered_workspace(), take_limit.name, take_limit.subject, 1)
    on conflict on constraint rate_limits_pkey do update
       set taken             = case when r.window_started_at > pg_catalog.now() - interval '1 minute' then r.taken + 1 else 1 end,
           refused           = case when r.window_started_at > pg_catalog.now() - interval '1 minute' then r.refused   else 0 end,
           window_started_at = case when r.window_started_at > pg_catalog.now() - interval '1 minute' then r.window_started_at else pg_catalog.now() end
    returning r.taken, pg_catalog.ceil(extract(epoch from r.window_started_at + interval '1 minute' - pg_catalog.now()))
         into used, seconds;
    if used > per_minute then
        perform private.raise_refusal(pg_catalog.jsonb_build_object(
            'status', 429, 'code', 'rate_limited', 'title', 'Too many requests.', 'retry_after', greatest(seconds, 1),
            'limit', name, 'subject', subject));
    end if;
end;
$$;
comment on function private.take_limit(text, text, integer) is 'Takes one from a limit of the current minute, or refuses. A hot row: call it last.';

create function private.count_refusal(refusal jsonb)
    returns void
    language sql
    volatile
    set search_path = ''
as $$
    insert into public.rate_limits as r (workspace_id, name, subject, refused)
    select private.entered_workspace(), refusal ->> 'limit', refusal ->> 'subject', 1
     where refusal ? 'limit'
    on conflict on constraint rate_limits_pkey do update
       set refused = r.refused + 1;
$$;
comment on function private.count_refusal(jsonb) is 'Keeps count of a refusal by a limit, after the writes it undid.';

create function private.limit_subject(address text)
    returns text
    language sql
    immutable
    set search_path = ''
as $$
    -- Whoever has an IPv6 address has at least a /64 of them.
    select case when address like '%:%'
                then pg_catalog.network(pg_catalog.set_masklen(address::inet, 64))::text
                else address end;
$$;
comment on function private.limit_subject(text) is 'What a limit by address counts: an IPv4 address, or the /64 of an IPv6 one.';

create function private.check_arrival(space public.spaces, address text)
    returns void
    language plpgsql
    volatile
    set search_path = ''
as $$
begin
    perform private.check_limit('arrivals_by_space', space.id::text, space.arrivals_per_minute);
    if address is not null then
        perform private.check_limit('arrivals_by_address', private.limit_subject(address), space.arrivals_per_minute_by_address);
    end if;
end;
$$;
comment on function private.check_arrival(public.spaces, text) is 'Refuses an arrival early where the space or the address is over its limit.';

create function private.take_arrival(space public.spaces, address text)
    returns void
    language plpgsql
    volatile
    set search_path = ''
as $$
begin
    -- Always in this order: two arrivals then never wait for each other in a circle.
    perform private.take_limit('arrivals_by_space', space.id::text, space.arrivals_per_minute);
    if address is not null then
        perform private.take_limit('arrivals_by_address', private.limit_subject(address), space.arrivals_per_minute_by_address);
    end if;
end;
$$;
comment on function private.take_arrival(public.spaces, text) is 'Counts an arrival (a registration, or a first message without a token) against the space and the address.';

create function private.record_audit(verb text, object_id uuid, actor_id uuid, code text)
    returns void
    language sql
    volatile
    set search_path = ''
as $$
    insert into public.audit_events (workspace_id, verb, object_id, actor_id, code)
    values (private.entered_workspace(), record_audit.verb, record_audit.object_id, record_audit.actor_id, record_audit.code);
$$;
comment on function private.record_audit(text, uuid, uuid, text) is 'Adds to the audit of the entered workspace.';

grant execute on function
    private.workspace_of_space(uuid), private.enter(), private.require_system(), private.enter_workspace(uuid),
    private.entered_workspace(), private.persona_secret(uuid), private.hmac_sha256(bytea, bytea),
    private.email_is_signed(uuid, text, text, text), private.email_is_confirmed(uuid, text), private.is_member(uuid),
    private.refuse(jsonb), private.raise_refusal(jsonb), private.check_limit(text, text, integer),
    private.take_limit(text, text, integer), private.count_refusal(jsonb), private.limit_subject(text), private.check_arrival(public.spaces, text),
    private.take_arrival(public.spaces, text), private.record_audit(text, uuid, uuid, text)
    to switchboard;
