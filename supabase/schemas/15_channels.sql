-- Channels: the places where providers' deliveries arrive, and how they are managed.

create type public.channel_kind as enum ('telegram', 'whatsapp', 'discord', 'omi', 'avinode', 'standard');
comment on type public.channel_kind is 'The provider, a module of lib/providers. telegram, whatsapp, discord: a messenger; omi: a wearable; avinode: a marketplace for flights; standard: any sender that follows Standard Webhooks.';

create table public.channels (
    id               uuid                not null default private.uuid7(),
    workspace_id     uuid                not null,
    kind             public.channel_kind not null,
    name             text                not null,
    persona_id       uuid,
    external_id      text,
    config           jsonb               not null default '{}',
    verify_secret_id uuid,
    token_secret_id  uuid,
    enabled          boolean             not null default true,
    created_at       timestamptz         not null default now(),
    constraint channels_pkey              primary key (id),
    constraint channels_workspace_key     unique (workspace_id, id),
    constraint channels_external_id_key   unique (external_id, kind),
    constraint channels_workspace_id_fkey foreign key (workspace_id) references public.workspaces (id) on delete cascade,
    constraint channels_persona_id_fkey   foreign key (workspace_id, persona_id) references public.personas (workspace_id, id) deferrable initially deferred,
    constraint channels_name_length       check (length(name) between 1 and 200),
    constraint channels_external_id_form  check (external_id ~ '^[\x21-\x7e]{1,200}$'),
    constraint channels_config_object     check (jsonb_typeof(config) = 'object' and octet_length(config::text) <= 16384)
);
comment on table public.channels is 'A place where a provider''s deliveries arrive: a bot, a phone number, an app, a sender of webhooks.';
comment on column public.channels.persona_id is 'The persona that answers there; null if none does.';
comment on column public.channels.external_id is 'The provider''s own id for it: a bot''s, a phone number''s (phone_number_id), an application''s. A delivery that carries it needs no channel in its URL.';
comment on column public.channels.config is 'The settings of its kind, without secrets.';
comment on column public.channels.verify_secret_id is 'Vault secret with which deliveries are verified: a shared secret, or a public key.';
comment on column public.channels.token_secret_id is 'Vault secret that is sent with calls to the provider''s API.';
alter table public.channels enable row level security;
create index channels_workspace_id_idx on public.channels (workspace_id, id);
create index channels_persona_id_idx on public.channels (persona_id) where persona_id is not null;

create view public.channel_settings with (security_invoker = true) as
select c.id, c.workspace_id, c.kind, c.name, c.persona_id, c.external_id, c.config, c.verify_secret_id is not null as has_verify_secret,
       c.token_secret_id is not null as has_token, c.enabled, c.created_at
  from public.channels c;
comment on view public.channel_settings is 'The channels of a workspace as its members see them: of the secrets, only whether there are any.';

create function public.delete_channel(channel_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_to_manage('channel', channel_id, 'admin');
begin
    delete from public.channels c where c.id = delete_channel.channel_id and c.workspace_id = workspace;
    if not found then
        raise sqlstate 'PT404' using message = 'channel_not_found';
    end if;
    perform private.record_change(workspace, 'channel.deleted', channel_id);
    return jsonb_build_object('removed', true);
end;
$$;
comment on function public.delete_channel is 'Deletes a channel and its secrets; what arrived there stays. For owners and admins.';

create function private.channel_secret(channel_id uuid, slot text)
    returns text language plpgsql stable security definer set search_path = ''
as $$
begin
    return (select v.decrypted_secret
              from public.channels c
              join vault.decrypted_secrets v on v.id = case slot when 'token' then c.token_secret_id when 'verify' then c.verify_secret_id end
             where c.id = channel_secret.channel_id
               and c.workspace_id = private.entered_workspace());
end;
$$;
comment on function private.channel_secret is 'A secret of a channel of the entered workspace: the token that is sent with calls to its provider''s API, or what verifies its deliveries (verify).';

create function public.channel_connection(channel_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace  constant uuid := private.enter();
    connection jsonb;
begin
    select jsonb_build_object('id', c.id, 'kind', c.kind, 'persona_id', c.persona_id, 'external_id', c.external_id,
                              'config', c.config, 'enabled', c.enabled, 'token', private.channel_secret(c.id, 'token'),
                              'allowed_networks', w.allowed_networks)
      into connection
      from public.channels c
      join public.workspaces w on w.id = c.workspace_id
     where c.id = channel_connection.channel_id
       and c.workspace_id = workspace;
    if connection is null then
        raise sqlstate 'PT404' using message = 'channel_not_found';
    end if;
    return connection;
end;
$$;
comment on function public.channel_connection is 'What calls to a channel''s provider need: {id, kind, persona_id, external_id, config, enabled, token, allowed_networks}.';

create function public.open_channel(channel_id uuid, purpose text)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_to_manage('channel', channel_id, 'admin');
    refusal   jsonb;
begin
    begin
        perform private.record_change(workspace, 'channel.token_used', channel_id, purpose);
        -- More in a minute are a program's, for which providers would block the token.
        perform private.take_limits(jsonb_build_object(
            'channel_calls', jsonb_build_object('place', 1, 'subject', channel_id, 'quota', 30, 'object_id', channel_id)));
    exception when sqlstate 'SB001' then
        get stacked diagnostics refusal = pg_exception_detail;
        return private.count_and_refuse(refusal::jsonb);
    end;
    return (select jsonb_build_object('kind', c.kind, 'persona_id', c.persona_id, 'external_id', c.external_id, 'config', c.config,
                                      'name', c.name, 'enabled', c.enabled, 'token', private.channel_secret(c.id, 'token'),
                                      'verify_secret', private.channel_secret(c.id, 'verify'),
                                      'allowed_networks', w.allowed_networks)
              from public.channels c
              join public.workspaces w on w.id = c.workspace_id
             where c.id = open_channel.channel_id);
end;
$$;
comment on function public.open_channel is 'What a function needs to call a channel''s provider for a member: {kind, name, persona_id, external_id, config, enabled, token, verify_secret, allowed_networks}. purpose (connect, test) is audited; 30 in a minute. For owners and admins.';

grant execute on function
    private.channel_secret, public.channel_connection, public.open_channel
    to switchboard;

grant execute on function
    public.delete_channel
    to service_role, switchboard;
