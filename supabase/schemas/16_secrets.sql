-- Secrets in Vault: read, verified, rotated and deleted. Secret values never leave the database by any other way.

create table private.retired_secrets (
    id             uuid        not null default private.uuid7(),
    workspace_id   uuid        not null,
    space_id       uuid,
    persona_id     uuid,
    channel_id     uuid,
    event_subscription_id uuid,
    secret_id      uuid        not null,
    accepted_until timestamptz not null,
    constraint retired_secrets_pkey              primary key (id),
    constraint retired_secrets_workspace_id_fkey foreign key (workspace_id) references public.workspaces (id) on delete cascade,
    constraint retired_secrets_space_id_fkey     foreign key (workspace_id, space_id) references public.spaces (workspace_id, id) on delete cascade,
    constraint retired_secrets_persona_id_fkey   foreign key (workspace_id, persona_id) references public.personas (workspace_id, id) on delete cascade,
    constraint retired_secrets_channel_id_fkey   foreign key (workspace_id, channel_id) references public.channels (workspace_id, id) on delete cascade,
    constraint retired_secrets_one_owner         check (num_nonnulls(space_id, persona_id, channel_id, event_subscription_id) = 1)
);
comment on table private.retired_secrets is 'Secrets that were replaced and are accepted for a while yet: a space''s secrets, a persona''s callback secrets, what verifies a channel''s deliveries; an event subscription''s, under which its deliveries are signed too.';
comment on column private.retired_secrets.secret_id is 'The Vault secret; it goes with this row, unless it has a name or something else uses it.';
comment on column private.retired_secrets.accepted_until is 'From then on it is refused, and forgotten at the next rotation or within a day.';
alter table private.retired_secrets enable row level security;
create index retired_secrets_workspace_id_idx on private.retired_secrets (workspace_id);
create index retired_secrets_space_id_idx on private.retired_secrets (space_id);
create index retired_secrets_persona_id_idx on private.retired_secrets (persona_id);
create index retired_secrets_channel_id_idx on private.retired_secrets (channel_id);
create index retired_secrets_event_subscription_id_idx on private.retired_secrets (event_subscription_id);

create function private.persona_secret(persona_id uuid)
    returns text language plpgsql stable security definer set search_path = ''
as $$
begin
    return (select v.decrypted_secret
              from public.personas p
              join vault.decrypted_secrets v on v.id = p.secret_id
             where p.id = persona_secret.persona_id
               and p.workspace_id = private.entered_workspace());
end;
$$;
comment on function private.persona_secret is 'What a persona of the entered workspace sends with its calls.';

create function private.hmac_sha256(key bytea, message bytea)
    returns bytea language plpgsql immutable strict set search_path = ''
as $$
-- RFC 2104 over the built-in sha256: pgcrypto is not on every server this runs on, and so the secret stays in the database.
declare
    block bytea := case when length(key) > 64 then sha256(key) else key end;
    inner_pad bytea;
    outer_pad bytea;
begin
    block     := block || decode(repeat('00', 64 - length(block)), 'hex');
    inner_pad := block;
    outer_pad := block;
    for i in 0..63 loop
        inner_pad := set_byte(inner_pad, i, get_byte(block, i) # 54);
        outer_pad := set_byte(outer_pad, i, get_byte(block, i) # 92);
    end loop;
    return sha256(outer_pad || sha256(inner_pad || message));
end;
$$;
comment on function private.hmac_sha256 is 'HMAC-SHA256 of a message.';

create function private.is_signed(space_id uuid, texts text[], signature text)
    returns boolean language sql stable security definer set search_path = ''
as $$
    -- Digests of digests are compared, so that the time taken tells nothing about the right one; and of hex text: what is no
    -- hex is then merely wrong.
    select coalesce(bool_or(
               sha256(convert_to(encode(private.hmac_sha256(
                   convert_to(v.decrypted_secret, 'UTF8'), convert_to(signed.text, 'UTF8')), 'hex'), 'UTF8'))
             = sha256(convert_to(lower(is_signed.signature), 'UTF8'))), false)
      from public.spaces s
     cross join lateral (select s.hmac_secret_id
                          union all
                         select r.secret_id
                           from private.retired_secrets r
                          where r.space_id = s.id
                            and r.accepted_until > now()) as accepted (secret_id)
      join vault.decrypted_secrets v on v.id = accepted.secret_id
     cross join unnest(texts) as signed (text)
     where s.id = is_signed.space_id
       and s.workspace_id = private.entered_workspace();
$$;
comment on function private.is_signed is 'Whether the signature is an HMAC-SHA256, in hex, of one of the texts, under the space''s secret or one that was replaced and is accepted yet.';

create function private.callback_secret(turn_id uuid)
    returns jsonb language plpgsql stable security definer set search_path = ''
as $$
begin
    perform private.require_system();
    return (select jsonb_build_object(
                       'workspace_id', t.workspace_id,
                       'secrets', jsonb_agg(v.decrypted_secret order by accepted.until desc))
              from public.turns t
              join public.sessions s on s.id = t.session_id
              join public.personas p on p.id = coalesce(t.fallback_persona_id, s.persona_id)
             cross join lateral (select p.callback_secret_id, 'infinity'::timestamptz
                                  union all
                                 select r.secret_id, r.accepted_until
                                   from private.retired_secrets r
                                  where r.persona_id = p.id
                                    and r.accepted_until > now()) as accepted (secret_id, until)
              join vault.decrypted_secrets v on v.id = accepted.secret_id
             where t.id = callback_secret.turn_id
               -- A persona that answers in the stream has no callback.
               and p.config ->> 'mode' = 'async'
             group by t.workspace_id);
end;
$$;
comment on function private.callback_secret is 'What an asynchronous answer to a turn must carry, any of {secrets}, the present one first, and the turn''s workspace; null for any other id.';

create function private.verify_secrets(provider text, channel_id uuid, external_id text)
    returns jsonb language plpgsql stable security definer set search_path = ''
as $$
begin
    perform private.require_system();
    return (select jsonb_build_object(
                       'workspace_id', c.workspace_id,
                       'channel_id', c.id,
                       'external_id', c.external_id,
                       'secrets', jsonb_agg(v.decrypted_secret order by accepted.until desc))
              from public.channels c
             cross join lateral (select c.verify_secret_id, 'infinity'::timestamptz
                                  union all
                                 select r.secret_id, r.accepted_until
                                   from private.retired_secrets r
                                  where r.channel_id = c.id
                                    and r.accepted_until > now()) as accepted (secret_id, until)
              join vault.decrypted_secrets v on v.id = accepted.secret_id
             where (c.id = verify_secrets.channel_id or c.external_id = verify_secrets.external_id)
               and c.kind::text = provider
               and c.enabled
             group by c.id);
end;
$$;
comment on function private.verify_secrets is 'With what a delivery to an enabled channel is verified, any of {secrets}, the present one first, and whose channel it is; null for any other id.';

create function public.webhook_secret(provider text, reference text)
    returns jsonb language plpgsql stable set search_path = ''
as $$
declare
    id           constant uuid := case when reference ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then reference::uuid end;
    found_secret jsonb;
begin
    perform private.require_system();
    if provider <> 'n8n' then
        found_secret := private.verify_secrets(provider, id, case when id is null then reference end);
    elsif id is not null then
        found_secret := private.callback_secret(id);
    end if;
    if found_secret is null then
        raise sqlstate 'PT404' using message = 'not_found';
    end if;
    return found_secret;
end;
$$;
comment on function public.webhook_secret is 'Whose delivery it would be, and the secrets of which it must prove to know one: {workspace_id, secrets, channel_id, external_id}. The reference is a channel''s id, or the provider''s own id for it; for n8n a turn''s id.';

create function private.drop_secrets()
    returns trigger language plpgsql security definer set search_path = ''
as $$
declare
    held constant jsonb := to_jsonb(old);
begin
    -- A secret created by hand may be used elsewhere, so only those created here are deleted.
    delete from vault.secrets v
     where v.id in ((held ->> 'secret_id')::uuid, (held ->> 'callback_secret_id')::uuid, (held ->> 'hmac_secret_id')::uuid,
                    (held ->> 'verify_secret_id')::uuid, (held ->> 'token_secret_id')::uuid)
       and v.name is null
       and not exists (select from public.personas p where v.id in (p.secret_id, p.callback_secret_id))
       and not exists (select from public.spaces s where v.id = s.hmac_secret_id)
       and not exists (select from public.channels c where v.id in (c.verify_secret_id, c.token_secret_id))
       and not exists (select from public.event_subscriptions s where v.id = s.secret_id)
       and not exists (select from private.retired_secrets r where v.id = r.secret_id);
    return null;
end;
$$;
comment on function private.drop_secrets is 'Deletes the secrets of a row that is gone from Vault, unless something else uses them.';

create function private.forget_secrets(owner_id uuid default null)
    returns integer language sql set search_path = ''
as $$
    -- A trigger deletes the rows in Vault. Rows that a concurrent call deletes are skipped.
    with gone as (
        delete from private.retired_secrets r
         where r.id in (select d.id
                          from private.retired_secrets d
                         where d.accepted_until <= clock_timestamp()
                           and (forget_secrets.owner_id is null
                                or forget_secrets.owner_id in (d.space_id, d.persona_id, d.channel_id, d.event_subscription_id))
                           for update skip locked)
        returning r.id
    )
    select count(*)::integer from gone;
$$;
comment on function private.forget_secrets is 'Deletes replaced secrets whose time is over from Vault, of one owner or of all; how many.';

create function private.secret_owner(slot text)
    returns text language sql immutable set search_path = ''
as $$
    select case when slot = 'hmac' then 'space'
                when slot in ('verify', 'token') then 'channel'
                when slot = 'signing' then 'event_subscription'
                else 'persona' end;
$$;
comment on function private.secret_owner is 'The kind of object that has a secret of this slot.';

create function private.store_secret(slot text, owner_id uuid, secret text, overlap_seconds integer)
    returns boolean language plpgsql security definer set search_path = ''
as $$
declare
    noun           constant text        := private.secret_owner(slot);
    workspace      constant uuid        := private.workspace_of(noun, owner_id);
    overlap_ends   constant timestamptz := clock_timestamp() + make_interval(secs => overlap_seconds);
    former uuid;
    kept   uuid;
begin
    if coalesce(private.caller_role(workspace), 'agent') = 'agent' then
        raise sqlstate 'PT403' using message = 'forbidden', detail = 'owners_and_admins_only';
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
        when 'verify' then
            select c.verify_secret_id into former from public.channels c where c.id = owner_id for no key update;
            update public.channels c set verify_secret_id = kept where c.id = owner_id;
        when 'token' then
            select c.token_secret_id into former from public.channels c where c.id = owner_id for no key update;
            update public.channels c set token_secret_id = kept where c.id = owner_id;
        when 'signing' then
            select s.secret_id into former from public.event_subscriptions s where s.id = owner_id for no key update;
            update public.event_subscriptions s set secret_id = kept where s.id = owner_id;
    end case;
    if slot not in ('secret', 'token') then
        -- No older one outlives this: with no overlap, whatever leaked is refused at once.
        update private.retired_secrets r
           set accepted_until = overlap_ends
         where owner_id in (r.space_id, r.persona_id, r.channel_id, r.event_subscription_id)
           and r.accepted_until > overlap_ends;
    end if;
    if former is not null and slot = 'hmac' and overlap_seconds = 0 then
        -- It may have leaked, and proven what is not true.
        perform private.lock_space_tokens(owner_id, false);
        update public.spaces s set tokens_revoked_at = clock_timestamp() where s.id = owner_id;
    end if;
    if former is not null then
        insert into private.retired_secrets (workspace_id, space_id, persona_id, channel_id, event_subscription_id, secret_id,
                                             accepted_until)
        values (workspace, case when noun = 'space' then owner_id end, case when noun = 'persona' then owner_id end,
                case when noun = 'channel' then owner_id end, case when noun = 'event_subscription' then owner_id end, former,
                overlap_ends);
    end if;
    perform private.forget_secrets(owner_id);
    return former is not null;
end;
$$;
comment on function private.store_secret is 'Keeps a new secret in Vault (null: none any more) as the hmac of a space, the secret or callback of a persona, the verify or token of a channel, or the signing of an event subscription; the former one stays accepted for the overlap. Without an overlap a space''s contact tokens are revoked. Whether there was one.';

create function public.replace_secret(slot text, owner_id uuid, action text, secret text default null, overlap_seconds integer default 0)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    kind      constant text    := private.secret_owner(slot);
    workspace constant uuid    := private.enter_to_manage(kind, owner_id, 'admin');
    -- Two random UUIDs have 244 random bits, from the server's strong generator.
    bytes     constant bytea   := sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));
    -- Standard Webhooks writes a secret in this form.
    generated constant text    := case slot when 'signing' then 'whsec_' || encode(bytes, 'base64') else encode(bytes, 'hex') end;
    replaced  constant boolean := private.store_secret(
        slot, owner_id, case action when 'set' then secret when 'rotate' then generated end, overlap_seconds);
begin
    if action <> 'remove' or replaced then
        perform private.record_change(
            workspace,
            kind || case slot when 'callback' then '.callback_secret_' when 'token' then '.token_' else '.secret_' end
                 || case action when 'set' then 'set' when 'rotate' then 'rotated' else 'removed' end,
            owner_id);
    end if;
    if action = 'set' and kind = 'persona' then
        perform private.retry_persona(owner_id);
    end if;
    return jsonb_build_object('secret', case action when 'rotate' then generated end);
end;
$$;
comment on function public.replace_secret is 'Replaces a secret of a space (slot hmac), a persona (slot secret or callback), a channel (slot verify or token) or an event subscription (slot signing). action: set the given one, rotate to a generated one, which is returned once, or remove it; former secrets stay valid for overlap_seconds. For owners and admins.';

create function public.generate_verify_secret(channel_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
begin
    perform private.enter_to_manage('channel', channel_id, 'admin');
    -- Members who connect a channel at the same time tell its provider the same secret.
    perform from public.channels c where c.id = generate_verify_secret.channel_id for no key update;
    if private.channel_secret(channel_id, 'verify') is null then
        return public.replace_secret('verify', channel_id, 'rotate');
    end if;
    return jsonb_build_object('secret', private.channel_secret(channel_id, 'verify'));
end;
$$;
comment on function public.generate_verify_secret is 'What verifies the deliveries of a channel, generated if there is none: {secret}. For owners and admins.';

create trigger retired_secrets_drop after delete on private.retired_secrets for each row execute function private.drop_secrets();

create trigger personas_drop_secrets after delete on public.personas for each row execute function private.drop_secrets();

create trigger spaces_drop_secrets after delete on public.spaces for each row execute function private.drop_secrets();

create trigger channels_drop_secrets after delete on public.channels for each row execute function private.drop_secrets();

grant execute on function
    private.persona_secret, private.is_signed, private.callback_secret, private.verify_secrets,
    public.webhook_secret, public.generate_verify_secret
    to switchboard;

grant execute on function
    private.secret_owner, private.store_secret, public.replace_secret
    to service_role, switchboard;
