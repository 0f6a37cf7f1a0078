-- Generated from supabase/schemas/63_event_subscriptions.sql.
set lock_timeout = '5s';
set statement_timeout = '60s';
set check_function_bodies = off;

-- Event subscriptions: the URLs to which a workspace's events are sent.

create table public.event_subscriptions (
    id              uuid        not null default private.uuid7(),
    workspace_id    uuid        not null,
    url             text        not null,
    event_types     text[]      not null,
    secret_id       uuid,
    enabled         boolean     not null default true,
    disabled_at     timestamptz,
    disabled_reason text,
    failing_since   timestamptz,
    created_at      timestamptz not null default now(),
    constraint event_subscriptions_pkey              primary key (id),
    constraint event_subscriptions_workspace_key     unique (workspace_id, id),
    constraint event_subscriptions_workspace_id_fkey foreign key (workspace_id) references public.workspaces (id) on delete cascade,
    constraint event_subscriptions_url               check (length(url) between 1 and 2048),
    constraint event_subscriptions_types             check (cardinality(event_types) > 0 and event_types <@ '{
        contact.registered,contact.merged,session.started,session.completed,session.timeout,session.taken_over,message.created,
        workflow.step,quote.received,proposal.sent,archive.completed}'),
    constraint event_subscriptions_disabled          check (enabled = (disabled_at is null) and enabled = (disabled_reason is null))
);
comment on table public.event_subscriptions is 'A URL to which a workspace''s events of some types are sent. For owners and admins: addresses often hold keys.';
comment on column public.event_subscriptions.secret_id is 'Vault secret under which deliveries are signed.';
comment on column public.event_subscriptions.disabled_reason is 'member; gone: the server answered 410; failing: no delivery has succeeded for days.';
comment on column public.event_subscriptions.failing_since is 'When the first delivery failed since the last success; null: none.';
alter table public.event_subscriptions enable row level security;

-- squawk-ignore adding-foreign-key-constraint, constraint-missing-not-valid
alter table private.retired_secrets add constraint retired_secrets_event_subscription_id_fkey
        foreign key (workspace_id, event_subscription_id) references public.event_subscriptions (workspace_id, id) on delete cascade;

create view public.event_subscription_settings with (security_invoker = true) as
select s.id, s.workspace_id, s.url, s.event_types, s.enabled, s.disabled_at, s.disabled_reason, s.failing_since, s.created_at
  from public.event_subscriptions s;
comment on view public.event_subscription_settings is 'Event subscriptions as admins see them, without their secrets.';

create function public.create_event_subscription(workspace_id uuid, settings jsonb)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    made constant jsonb := public.create_in_workspace('event_subscription', workspace_id, settings);
begin
    if exists (select from public.event_subscriptions s where s.id = (made ->> 'id')::uuid and s.secret_id is null) then
        return made || public.replace_secret('signing', (made ->> 'id')::uuid, 'rotate');
    end if;
    return made;
end;
$$;
comment on function public.create_event_subscription is 'Creates an event subscription with a generated secret, which is returned once; a repeated id returns the existing one without it. For owners and admins.';

create function public.remove_event_subscription(event_subscription_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_to_manage('event_subscription', event_subscription_id, 'admin');
begin
    delete from public.event_subscriptions s where s.id = event_subscription_id and s.workspace_id = workspace;
    perform private.record_change(workspace, 'event_subscription.removed', event_subscription_id);
    return jsonb_build_object('removed', true);
end;
$$;
comment on function public.remove_event_subscription is 'Removes an event subscription with its secret and deliveries; for owners and admins.';

create trigger event_subscriptions_drop_secrets
    after delete on public.event_subscriptions
    for each row execute function private.drop_secrets();

grant execute on function
    public.create_event_subscription, public.remove_event_subscription
    to service_role, switchboard;
