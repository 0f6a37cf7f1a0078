-- Who may change a workspace, and how its secrets are replaced while those who still use the old one go on.

set lock_timeout = '5s';
set statement_timeout = '60s';

grant insert, update         on public.workspaces        to switchboard;
grant insert, update, delete on public.workspace_members to switchboard;
grant insert, update         on public.personas          to switchboard;
grant insert, update         on public.spaces            to switchboard;

create table private.retired_secrets (
    id             uuid        not null default private.uuid7(),
    workspace_id   uuid        not null,
    space_id       uuid,
    persona_id     uuid,
    secret_id      uuid        not null,
    accepted_until timestamptz not null,
    constraint retired_secrets_pkey              primary key (id),
    constraint retired_secrets_one_owner         check (pg_catalog.num_nonnulls(space_id, persona_id) = 1),
    constraint retired_secrets_workspace_id_fkey foreign key (workspace_id) references public.workspaces (id) on delete cascade,
    constraint retired_secrets_space_id_fkey     foreign key (workspace_id, space_id) references public.spaces (workspace_id, id) on delete cascade,
    constraint retired_secrets_persona_id_fkey   foreign key (workspace_id, persona_id) references public.personas (workspace_id, id) on delete cascade
);
comment on table  private.retired_secrets                is 'Secrets that were replaced and are accepted for a while yet: a space''s HMAC secrets, a persona''s callback secrets.';
comment on column private.retired_secrets.secret_id      is 'The Vault secret; it goes with this row, unless it has a name or something else uses it.';
comment on column private.retired_secrets.accepted_until is 'From then on it is refused, and forgotten at the next rotation or within a day.';
create index retired_secrets_workspace_id_idx on private.retired_secrets (workspace_id);
create index retired_secrets_space_id_idx     on private.retired_secrets (space_id);
create index retired_secrets_persona_id_idx   on private.retired_secrets (persona_id);
alter table private.retired_secrets enable row level security;

-- Entering to manage --------------------------------------------------------------------------------------------------

create function private.workspace_of(noun text, object_id uuid)
    returns uuid
    language sql
    stable
    security definer
    set search_path = ''
as $$
    select case noun
               when 'workspace' then object_id
               when 'space'     then (select s.workspace_id from public.spaces s where s.id = object_id)
               when 'persona'   then (select p.workspace_id from public.personas p where p.id = object_id)
           end;
$$;
comment on function private.workspace_of(text, uuid) is 'The workspace of a workspace, space or persona that somebody wants to manage; null for any other id.';

create function private.caller_role(workspace_id uuid)
    returns public.member_role
    language sql
    stable
    security definer
    set search_path = ''
as $$
    -- A token that was signed for something else, a chat for instance, manages nothing.
    select case
               when private.claims() ->> 'role' = 'service_role' then 'owner'::public.member_role
               when private.claims() ->> 'role' = 'switchboard'
                    and (private.claims() #>> '{scope,management}')::boolean
                    and private.claims() #>> '{caller,kind}' = 'user'
               then (select m.role
                       from public.workspace_members m
                      where m.workspace_id = w.id
                        and m.user_id = (private.claims() #>> '{caller,user_id}')::uuid)
           end
      from public.workspaces w
     where w.id = caller_role.workspace_id;
$$;
comment on function private.caller_role(uuid) is
    'What the caller of a token for managing may do in a workspace; operators are as owners; null for everybody else, and where there is no such workspace.';

create function private.enter_to_manage(noun text, object_id uuid)
    returns public.member_role
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    workspace constant uuid               := private.workspace_of(noun, object_id);
    role      constant public.member_role := private.caller_role(workspace);
begin
    if role is null then
        raise sqlstate 'PT404' using message = noun || '_not_found', detail = 'There is no such ' || noun || '.';
    end if;
    perform pg_catalog.set_config('switchboard.workspace_id', workspace::text, true);
    -- The policies for writing what makes up a workspace compare with this one, which no other way in sets.
    if role in ('owner', 'admin') then
        perform pg_catalog.set_config('switchboard.managed_workspace_id', workspace::text, true);
    end if;
    return role;
end;
$$;
comment on function private.enter_to_manage(text, uuid) is
    'Enters the workspace of a workspace, space or persona in order to manage it, and gives the caller''s role; not found for whoever has none.';

create function private.enter_as_admin(noun text, object_id uuid)
    returns uuid
    language plpgsql
    volatile
    set search_path = ''
as $$
begin
    if private.enter_to_manage(noun, object_id) = 'agent' then
        raise sqlstate 'PT403' using message = 'forbidden', detail = 'Only owners and admins may change this.';
    end if;
    return private.workspace_of(noun, object_id);
end;
$$;
comment on function private.enter_as_admin(text, uuid) is 'The same for owners and admins only; gives the workspace.';

create function private.calling_user()
    returns uuid
    language sql
    stable
    set search_path = ''
as $$
    select (private.claims() #>> '{caller,user_id}')::uuid;
$$;
comment on function private.calling_user() is 'The user on whose behalf a function of ours calls; null for operators'' commands.';

create function private.find_user(user_id uuid, email text)
    returns uuid
    language plpgsql
    stable
    security definer
    set search_path = ''
as $$
begin
    -- Only where somebody may add members, or a workspace: it tells whether an email is known on this instance.
    if coalesce(private.caller_role(nullif(pg_catalog.current_setting('switchboard.managed_workspace_id', true), '')::uuid),
                'agent') = 'agent' and not private.is_operator() then
        raise sqlstate 'PT403' using message = 'forbidden', detail = 'Only owners, admins and operators look for users.';
    end if;
    -- An email that nobody confirmed is not yet its owner's. Two users have one email only where single sign-on is used:
    -- those are added by their ids.
    return (select u.id
              from auth.users u
             where u.deleted_at is null
               and not u.is_anonymous
               and (u.id = find_user.user_id
                    or (find_user.user_id is null and u.email = find_user.email and not u.is_sso_user
                        and u.email_confirmed_at is not null)));
end;
$$;
comment on function private.find_user(uuid, text) is 'The Supabase user with this id, or else this confirmed email (in lower case); null where there is none.';

create function private.is_operator()
    returns boolean
    language sql
    stable
    set search_path = ''
as $$
    select coalesce(private.claims() ->> 'role' = 'service_role'
                    or (private.claims() ->> 'role' = 'switchboard'
                        and (private.claims() #>> '{scope,management}')::boolean
                        and private.claims() #>> '{caller,switchboard_role}' = 'operator'), false);
$$;
comment on function private.is_operator() is 'Whether the caller runs this instance: the service key, or a user whose app_metadata says so.';

create function private.member_emails(workspace_id uuid)
    returns table (user_id uuid, email text)
    language sql
    stable
    security definer
    set search_path = ''
as $$
    select m.user_id, u.email::text
      from public.workspace_members m
      join auth.users u on u.id = m.user_id
     where m.workspace_id = member_emails.workspace_id
       and (private.claims() ->> 'role' = 'service_role' or m.workspace_id in (select private.member_workspaces()));
$$;
comment on function private.member_emails(uuid) is 'The emails of a workspace''s members, for its members.';

-- Secrets -------------------------------------------------------------------------------------------------------------

create function private.new_secret()
    returns text
    language sql
    volatile
    set search_path = ''
as $$
    -- Two random UUIDs hold 244 random bits, from the server's strong generator.
    select pg_catalog.encode(pg_catalog.sha256(pg_catalog.uuid_send(pg_catalog.gen_random_uuid())
                                               || pg_catalog.uuid_send(pg_catalog.gen_random_uuid())), 'hex');
$$;
comment on function private.new_secret() is 'A new secret, in hex.';

create function private.drop_secrets()
    returns trigger
    language plpgsql
    security definer
    set search_path = ''
as $$
declare
    held constant jsonb := pg_catalog.to_jsonb(old);
begin
    -- One that was put in by hand may serve several, and one with a name somebody else altogether.
    delete from vault.secrets v
     where v.id in ((held ->> 'secret_id')::uuid, (held ->> 'callback_secret_id')::uuid, (held ->> 'hmac_secret_id')::uuid)
       and v.name is null
       and not exists (select from public.personas p where v.id in (p.secret_id, p.callback_secret_id))
       and not exists (select from public.spaces s where v.id = s.hmac_secret_id)
       and not exists (select from private.retired_secrets r where v.id = r.secret_id);
    return null;
end;
$$;
comment on function private.drop_secrets() is 'Deletes the secrets of a row that is gone from Vault, unless something else uses them.';

create trigger retired_secrets_drop after delete on private.retired_secrets for each row execute function private.drop_secrets();
create trigger personas_drop_secrets after delete on public.personas for each row execute function private.drop_secrets();
create trigger spaces_drop_secrets after delete on public.spaces for each row execute function private.drop_secrets();

create function private.forget_secrets(owner_id uuid default null)
    returns integer
    language sql
    volatile
    set search_path = ''
as $$
    -- Vault's rows go by the trigger. Whatever somebody else is forgetting in this moment is theirs.
    with gone as (
        delete from private.retired_secrets r
         where r.id in (select d.id
                          from private.retired_secrets d
                         where d.accepted_until <= pg_catalog.clock_timestamp()
                           and (forget_secrets.owner_id is null or forget_secrets.owner_id in (d.space_id, d.persona_id))
                           for update skip locked)
        returning r.id
    )
    select pg_catalog.count(*)::integer from gone;
$$;
comment on function private.forget_secrets(uuid) is 'Deletes replaced secrets whose time is over from Vault, of one space or persona or of all; how many.';

create function private.replace_secret(slot text, owner_id uuid, secret text, overlap_seconds integer)
    returns boolean
    language plpgsql
    volatile
    security definer
    set search_path = ''
as $$
declare
    noun           constant text        := case slot when 'hmac' then 'space' else 'persona' end;
    workspace      constant uuid        := private.workspace_of(noun, owner_id);
    overlap_ends   constant timestamptz := pg_catalog.clock_timestamp() + pg_catalog.make_interval(secs => overlap_seconds);
    former uuid;
    kept   uuid;
begin
    if coalesce(private.caller_role(workspace), 'agent') = 'agent' then
        raise sqlstate 'PT403' using message = 'forbidden', detail = 'Only owners and admins may change this.';
    end if;
    if secret is not null then
        kept := vault.create_secret(secret, null, 'Switchboard: ' || slot || ' of the ' || noun || ' ' || owner_id);
    end if;
    -- The row is locked first: two rotations at once each retire what the other made.
    case slot
        when 'hmac' then
            select s.hmac_secret_id into former from public.spaces s where s.id = owner_id for no key update;
            update public.spaces s set hmac_secret_id = kept where s.id = owner_id;
        when 'callback' then
            select p.callback_secret_id into former from public.personas p where p.id = owner_id for no key update;
            update public.personas p set callback_secret_id = kept where p.id = owner_id;
        when 'secret' then
            select p.secret_id into former from public.personas p where p.id = owner_id for no key update;
            update public.personas p set secret_id = kept where p.id = owner_id;
    end case;
    if slot <> 'secret' then
        -- No older one outlives this: with no overlap, whatever leaked is refused at once.
        update private.retired_secrets r
           set accepted_until = overlap_ends
         where owner_id in (r.space_id, r.persona_id)
           and r.accepted_until > overlap_ends;
    end if;
    if former is not null then
        insert into private.retired_secrets (workspace_id, space_id, persona_id, secret_id, accepted_until)
        values (workspace, case when noun = 'space' then owner_id end, case when noun = 'persona' then owner_id end, former,
                overlap_ends);
    end if;
    perform private.forget_secrets(owner_id);
    return former is not null;
end;
$$;
comment on function private.replace_secret(text, uuid, text, integer) is
    'Keeps a new secret in Vault (null: none any more) as the hmac of a space, or the secret or callback of a persona; the former one stays accepted for the overlap. Whether there was one.';

create or replace function private.email_is_signed(space_id uuid, email text, email_key text, email_hmac text)
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
     cross join lateral (select s.hmac_secret_id
                          union all
                         select r.secret_id
                           from private.retired_secrets r
                          where r.space_id = s.id
                            and r.accepted_until > pg_catalog.now()) as accepted (secret_id)
      join vault.decrypted_secrets v on v.id = accepted.secret_id
     cross join (values (email_is_signed.email), (email_is_signed.email_key)) as signed (text)
     where s.id = email_is_signed.space_id
       and s.workspace_id = private.entered_workspace();
$$;
comment on function private.email_is_signed(uuid, text, text, text) is
    'Whether an HMAC stands behind an email, under the space''s secret or one that was replaced and is accepted yet.';

create or replace function private.callback_secret(turn_id uuid)
    returns jsonb
    language plpgsql
    stable
    security definer
    set search_path = ''
as $$
begin
    perform private.require_system();
    return (select pg_catalog.jsonb_build_object(
                       'workspace_id', t.workspace_id,
                       'secrets', pg_catalog.jsonb_agg(v.decrypted_secret order by accepted.until desc))
              from public.turns t
              join public.sessions s on s.id = t.session_id
              join public.personas p on p.id = s.persona_id
             cross join lateral (select p.callback_secret_id, 'infinity'::timestamptz
                                  union all
                                 select r.secret_id, r.accepted_until
                                   from private.retired_secrets r
                                  where r.persona_id = p.id
                                    and r.accepted_until > pg_catalog.now()) as accepted (secret_id, until)
              join vault.decrypted_secrets v on v.id = accepted.secret_id
             where t.id = callback_secret.turn_id
               -- Whoever answers in the stream has no second way to answer.
               and p.config ->> 'mode' = 'async'
             group by t.workspace_id);
end;
$$;
comment on function private.callback_secret(uuid) is
    'What an asynchronous answer to a turn must carry, any of {secrets}, the present one first, and the turn''s workspace; null for any other id.';
comment on function public.webhook_secret(text, text) is
    'Whose delivery it would be, and the secrets of which it must prove to know one: {workspace_id, secrets}. n8n: reference is the turn''s id.';

-- Answers and the audit -----------------------------------------------------------------------------------------------

create function private.record_change(workspace_id uuid, verb text, object_id uuid, code text default null)
    returns void
    language sql
    volatile
    set search_path = ''
as $$
    insert into public.audit_events (workspace_id, verb, object_id, actor_id, code)
    values (record_change.workspace_id, record_change.verb, record_change.object_id, private.calling_user(), record_change.code);
$$;
comment on function private.record_change(uuid, text, uuid, text) is 'Adds what somebody changed to the audit; no actor: an operator''s command.';

create function private.page(items jsonb, page_size integer, key text)
    returns jsonb
    language sql
    immutable
    set search_path = ''
as $$
    -- One more was asked for than fits: whether it came says whether there are more.
    select case when pg_catalog.jsonb_array_length(items) > page_size
                then pg_catalog.jsonb_build_object('items', items - page_size, 'next_cursor', items -> (page_size - 1) ->> key)
                else pg_catalog.jsonb_build_object('items', coalesce(items, '[]'), 'next_cursor', null) end;
$$;
comment on function private.page(jsonb, integer, text) is '{items, next_cursor} of a list that was read with one more than the page holds.';

create function private.describe_workspace(workspace public.workspaces)
    returns jsonb
    language sql
    stable
    set search_path = ''
as $$
    select pg_catalog.to_jsonb(workspace);
$$;
comment on function private.describe_workspace(public.workspaces) is 'A workspace as its members see it.';

create function private.describe_space(space public.spaces)
    returns jsonb
    language sql
    stable
    set search_path = ''
as $$
    select pg_catalog.to_jsonb(space) - 'hmac_secret_id'
           || pg_catalog.jsonb_build_object('has_hmac_secret', space.hmac_secret_id is not null);
$$;
comment on function private.describe_space(public.spaces) is 'A space as its workspace''s members see it: of its secret only whether there is one.';

create function private.describe_persona(persona public.personas)
    returns jsonb
    language sql
    stable
    set search_path = ''
as $$
    select pg_catalog.to_jsonb(persona) - array['secret_id', 'callback_secret_id']
           || pg_catalog.jsonb_build_object('has_secret', persona.secret_id is not null,
                                            'has_callback_secret', persona.callback_secret_id is not null);
$$;
comment on function private.describe_persona(public.personas) is 'A persona as its workspace''s members see it: of its secrets only whether there are any.';

grant execute on function
    private.workspace_of(text, uuid), private.caller_role(uuid), private.enter_to_manage(text, uuid),
    private.enter_as_admin(text, uuid), private.calling_user(), private.find_user(uuid, text), private.is_operator(),
    private.new_secret(), private.replace_secret(text, uuid, text, integer), private.record_change(uuid, text, uuid, text)
    to switchboard, service_role;
grant execute on function private.member_emails(uuid), private.page(jsonb, integer, text) to authenticated, service_role;
grant execute on function
    private.describe_workspace(public.workspaces), private.describe_space(public.spaces), private.describe_persona(public.personas)
    to authenticated, switchboard, service_role;

select cron.schedule('switchboard-forget-secrets', '50 3 * * *', 'select private.forget_secrets()');
