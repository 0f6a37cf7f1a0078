-- Generated from supabase/schemas/66_events.sql.
set lock_timeout = '5s';
set statement_timeout = '60s';
set check_function_bodies = off;

-- Outgoing events: written where they happen, for the subscriptions that want them, and delivered by jobs.

create type public.delivery_status as enum ('pending', 'succeeded', 'failed');
comment on type public.delivery_status is 'pending -> succeeded | failed (attempts used up, or not worth another); succeeded | failed -> pending (replayed)';

create table public.events (
    id           uuid        not null default private.uuid7(),
    workspace_id uuid        not null,
    type         text        not null,
    contact_id   uuid,
    data         jsonb       not null,
    occurred_at  timestamptz not null default clock_timestamp(),
    constraint events_pkey              primary key (id),
    constraint events_workspace_key     unique (workspace_id, id),
    constraint events_workspace_id_fkey foreign key (workspace_id) references public.workspaces (id) on delete cascade,
    constraint events_contact_id_fkey   foreign key (workspace_id, contact_id) references public.contacts (workspace_id, id) on delete cascade
);
comment on table public.events is 'An event that subscriptions wanted when it happened, written in the transaction that caused it; deleted after 30 days.';
comment on column public.events.contact_id is 'Whose event it is; null for a test.';
alter table public.events enable row level security;
create index events_workspace_id_idx on public.events (workspace_id, occurred_at);
create index events_contact_id_idx on public.events (contact_id) where contact_id is not null;
create index events_occurred_at_idx on public.events (occurred_at);

create table public.event_deliveries (
    id               uuid                   not null default private.uuid7(),
    workspace_id     uuid                   not null,
    event_id         uuid                   not null,
    subscription_id  uuid                   not null,
    ordering_key     text                   not null,
    status           public.delivery_status not null default 'pending',
    attempts         integer                not null default 0,
    response_status  integer,
    response_excerpt text,
    error            text,
    duration_ms      integer,
    created_at       timestamptz            not null default now(),
    last_attempt_at  timestamptz,
    constraint event_deliveries_pkey                 primary key (id),
    constraint event_deliveries_event_key            unique (event_id, subscription_id),
    constraint event_deliveries_event_id_fkey        foreign key (workspace_id, event_id) references public.events (workspace_id, id) on delete cascade,
    constraint event_deliveries_subscription_id_fkey foreign key (workspace_id, subscription_id) references public.event_subscriptions (workspace_id, id) on delete cascade,
    constraint event_deliveries_lengths              check (length(response_excerpt) <= 1000 and length(error) <= 500)
);
comment on table public.event_deliveries is 'An event for one subscription, with its last attempt: the status and beginning of the answer, or the error of the call.';
comment on column public.event_deliveries.ordering_key is 'That of its jobs: the subscription and the conversation.';
alter table public.event_deliveries enable row level security;
create index event_deliveries_newest_idx on public.event_deliveries (subscription_id, created_at, id);

create view public.event_delivery_details with (security_invoker = true) as
select d.id, d.workspace_id, d.subscription_id, d.event_id, e.type, d.status, d.attempts, d.response_status, d.response_excerpt,
       d.error, d.duration_ms, d.created_at, d.last_attempt_at, e.occurred_at, e.data
  from public.event_deliveries d
  join public.events e on e.workspace_id = d.workspace_id and e.id = d.event_id;
comment on view public.event_delivery_details is 'Deliveries as admins see them, with what was sent.';

create function private.session_facts(session_id uuid)
    returns jsonb language sql stable set search_path = ''
as $$
    select jsonb_build_object('session_id', s.id, 'conversation_id', s.conversation_id, 'contact_id', s.contact_id, 'proof', c.proof,
                              'persona_id', s.persona_id, 'space_id', s.space_id, 'channel', s.channel)
      from public.sessions s
      join public.conversations c on c.id = s.conversation_id
     where s.id = session_facts.session_id;
$$;
comment on function private.session_facts is 'What every event of a session says.';

create function private.event_data(type text, cause jsonb)
    returns jsonb language plpgsql stable set search_path = ''
as $$
begin
    return case type
        when 'contact.registered' then
            jsonb_build_object('contact_id', cause ->> 'object_id', 'verified_by', cause ->> 'code')
        when 'contact.merged' then
            jsonb_build_object('contact_id', cause ->> 'into_id', 'merged_contact_id', cause ->> 'contact_id',
                               'automatic', (cause ->> 'automatic')::boolean)
        when 'message.created' then
            private.session_facts((cause ->> 'session_id')::uuid)
            || jsonb_build_object('message_id', cause ->> 'id', 'turn_id', cause ->> 'turn_id', 'role', cause ->> 'role',
                                  'user_id', cause ->> 'user_id', 'text', cause ->> 'text',
                                  'partial', (cause ->> 'partial')::boolean, 'created_at', cause ->> 'created_at')
        when 'workflow.step' then
            private.session_facts((cause ->> 'session_id')::uuid)
            || jsonb_build_object('workflow', cause ->> 'workflow', 'from_step', cause ->> 'from_step',
                                  'to_step', cause ->> 'to_step', 'user_id', cause ->> 'actor_id')
        when 'quote.received' then
            (select private.session_facts(q.session_id)
                    || jsonb_build_object('quote_id', q.id, 'request_id', q.request_id, 'operator', q.operator, 'amount', q.amount,
                                          'currency', q.currency, 'aircraft_type', q.aircraft_type, 'late', q.late)
               from public.quotes q
              where q.id = (cause ->> 'object_id')::uuid)
        when 'proposal.sent' then
            (select private.session_facts(p.session_id)
                    || jsonb_build_object('proposal_id', p.id, 'request_id', p.request_id, 'quote_id', p.quote_id, 'title', p.title,
                                          'amount', p.amount, 'currency', p.currency, 'text', p.text)
               from public.proposals p
              where p.id = (cause ->> 'object_id')::uuid)
        when 'archive.completed' then
            private.session_facts((cause ->> 'object_id')::uuid)
        when 'session.taken_over' then
            private.session_facts((cause ->> 'id')::uuid) || jsonb_build_object('user_id', cause ->> 'taken_over_by')
        else
            private.session_facts((cause ->> 'id')::uuid)
            || jsonb_build_object('turn_count', (cause ->> 'turn_count')::integer,
                                  'message_count', (cause ->> 'message_count')::integer)
    end;
end;
$$;
comment on function private.event_data is 'The data of an event, from the row that causes it: ids, and what a contact may see of it. docs/webhooks.md has each type.';

create function private.queue_delivery(delivery public.event_deliveries)
    returns uuid language sql set search_path = ''
as $$
    -- The ninth failure ends it (lib/webhooks/event_sender.py); a lost worker may take a few more attempts.
    insert into public.jobs (workspace_id, kind, payload, ordering_key, max_attempts)
    values (delivery.workspace_id, 'deliver_event',
            jsonb_build_object('delivery_id', delivery.id, 'subscription_id', delivery.subscription_id), delivery.ordering_key, 15)
    returning id;
$$;
comment on function private.queue_delivery is 'Queues the job that sends a delivery; in order per subscription and conversation.';

create function private.write_event(workspace_id uuid, type text, cause jsonb)
    returns void language plpgsql set search_path = ''
as $$
declare
    wanted constant uuid[] := array(select s.id
                                      from public.event_subscriptions s
                                     where s.workspace_id = write_event.workspace_id
                                       and s.enabled
                                       and write_event.type = any (s.event_types));
    data     jsonb;
    event    public.events;
    delivery public.event_deliveries;
begin
    if wanted = '{}' then
        return;
    end if;
    data := private.event_data(type, cause);
    -- What a member and a persona say to each other is the member's own.
    if data ->> 'contact_id' is null then
        return;
    end if;
    insert into public.events (workspace_id, type, contact_id, data)
    values (write_event.workspace_id, write_event.type, (data ->> 'contact_id')::uuid, jsonb_strip_nulls(data))
    returning * into event;
    for delivery in
        insert into public.event_deliveries as d (workspace_id, event_id, subscription_id, ordering_key)
        select event.workspace_id, event.id, s.id,
               'events:' || s.id || ':' || coalesce(event.data ->> 'conversation_id', event.data ->> 'contact_id')
          from unnest(wanted) as s (id)
        returning d.*
    loop
        perform private.queue_delivery(delivery);
    end loop;
    perform private.call_soon('worker');
end;
$$;
comment on function private.write_event is 'Writes an event and queues its deliveries, if an enabled subscription of the workspace wants its type.';

create function private.emit_event()
    returns trigger language plpgsql security definer set search_path = ''
as $$
begin
    if current_setting('switchboard.restoring', true) is distinct from 'on'
       and exists (select from public.event_subscriptions s where s.workspace_id = new.workspace_id and s.enabled) then
        perform private.write_event(
            new.workspace_id,
            case tg_argv[0]
                when 'audit' then replace(to_jsonb(new) ->> 'verb', 'session.archived', 'archive.completed')
                when 'status' then 'session.' || (to_jsonb(new) ->> 'status')
                else tg_argv[0]
            end,
            to_jsonb(new));
    end if;
    return null;
end;
$$;
comment on function private.emit_event is 'Writes the event that a row causes. The argument is its type, or the column that tells it. Without a subscription it only finds that out.';

create function private.subscription_secrets(subscription_id uuid)
    returns jsonb language sql stable security definer set search_path = ''
as $$
    select coalesce(jsonb_agg(v.decrypted_secret order by accepted.until desc), '[]')
      from public.event_subscriptions s
     cross join lateral (select s.secret_id, 'infinity'::timestamptz
                          union all
                         select r.secret_id, r.accepted_until
                           from private.retired_secrets r
                          where r.event_subscription_id = s.id
                            and r.accepted_until > now()) as accepted (secret_id, until)
      join vault.decrypted_secrets v on v.id = accepted.secret_id
     where s.id = subscription_secrets.subscription_id
       and s.workspace_id = private.entered_workspace();
$$;
comment on function private.subscription_secrets is 'The secrets under which a subscription of the entered workspace expects signatures, the present one first.';

create function public.read_delivery(delivery_id uuid)
    returns jsonb language plpgsql stable set search_path = ''
as $$
declare
    found_delivery jsonb;
begin
    perform private.enter();
    select jsonb_build_object('status', d.status, 'enabled', s.enabled, 'url', s.url,
                              'secrets', private.subscription_secrets(s.id),
                              'allowed_networks', private.allowed_networks(s.workspace_id),
                              'event_id', e.id, 'type', e.type, 'occurred_at', e.occurred_at, 'data', e.data)
      into found_delivery
      from public.event_deliveries d
      join public.event_subscriptions s on s.id = d.subscription_id
      join public.events e on e.id = d.event_id
     where d.id = delivery_id;
    if not found then
        raise sqlstate 'PT404' using message = 'event_delivery_not_found';
    end if;
    return found_delivery;
end;
$$;
comment on function public.read_delivery is 'What a worker sends, where to, and the secrets to sign it with.';

create function public.record_delivery(delivery_id uuid, outcome jsonb)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    result   constant public.delivery_status := (outcome ->> 'status')::public.delivery_status;
    delivery public.event_deliveries;
    disabled text;
begin
    perform private.enter();
    update public.event_deliveries d
       set (status, attempts, last_attempt_at, response_status, response_excerpt, error, duration_ms)
         = (select result, d.attempts + 1, clock_timestamp(), n.response_status, n.response_excerpt, n.error, n.duration_ms
              from jsonb_populate_record(null::public.event_deliveries, outcome) n)
     where d.id = delivery_id
       and d.status = 'pending'
    returning d.* into delivery;
    if result = 'succeeded' then
        update public.event_subscriptions s
           set failing_since = null
         where s.id = delivery.subscription_id
           and s.failing_since is not null;
    else
        update public.event_subscriptions s
           set failing_since   = coalesce(s.failing_since, now()),
               enabled         = case when r.reason is null then s.enabled else false end,
               disabled_at     = case when r.reason is null then s.disabled_at else now() end,
               disabled_reason = r.reason
          from (select case when outcome ->> 'response_status' = '410' then 'gone'
                            when o.failing_since < now() - interval '3 days' then 'failing' end as reason
                  from public.event_subscriptions o
                 where o.id = delivery.subscription_id) r
         where s.id = delivery.subscription_id
           and s.enabled
        returning s.disabled_reason into disabled;
        if disabled is not null then
            perform private.record_audit('event_subscription.disabled', delivery.subscription_id, null, disabled);
        end if;
    end if;
    select d.* into delivery from public.event_deliveries d where d.id = delivery_id;
    if not found then
        raise sqlstate 'PT404' using message = 'event_delivery_not_found';
    end if;
    return jsonb_build_object('status', delivery.status);
end;
$$;
comment on function public.record_delivery is 'Records an attempt of a pending delivery: outcome is {status, response_status, response_excerpt, error, duration_ms}. Switches the subscription off if its server answered 410, or if no delivery has succeeded for three days.';

create function public.test_event_subscription(event_subscription_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_to_manage('event_subscription', event_subscription_id, 'admin');
    event     uuid;
    delivery  public.event_deliveries;
begin
    insert into public.events as e (workspace_id, type, data) values (workspace, 'subscription.test', '{}') returning e.id into event;
    insert into public.event_deliveries as d (workspace_id, event_id, subscription_id, ordering_key)
    values (workspace, event, event_subscription_id, 'events:' || event_subscription_id || ':' || event)
    returning d.* into delivery;
    return jsonb_build_object('delivery_id', delivery.id, 'job_id', private.queue_delivery(delivery));
end;
$$;
comment on function public.test_event_subscription is 'Queues an event of the type subscription.test for one subscription: {delivery_id, job_id}. For owners and admins.';

create function public.replay_event_delivery(event_delivery_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_to_manage('event_delivery', event_delivery_id, 'admin');
    delivery  public.event_deliveries;
    job       uuid;
begin
    update public.event_deliveries d
       set status = 'pending'
     where d.id = event_delivery_id
       and d.workspace_id = workspace
    returning d.* into delivery;
    select j.id into job
      from public.jobs j
     where j.workspace_id = workspace
       and j.ordering_key = delivery.ordering_key
       and j.status in ('queued', 'running')
       and j.payload ->> 'delivery_id' = delivery.id::text;
    if job is null then
        job := private.queue_delivery(delivery);
    else
        update public.jobs j set next_attempt_at = now() where j.id = job and j.status = 'queued';
    end if;
    perform private.record_change(workspace, 'event_delivery.replayed', event_delivery_id);
    return jsonb_build_object('delivery_id', delivery.id, 'job_id', job);
end;
$$;
comment on function public.replay_event_delivery is 'Sends a delivery again under the same id, or a pending one before its time: {delivery_id, job_id}. For owners and admins.';

-- Imported rows are no events.
create trigger messages_emit_event after insert on public.messages
    for each row when (current_setting('switchboard.importing', true) is distinct from 'true')
    execute function private.emit_event('message.created');

create trigger sessions_emit_started after insert on public.sessions
    for each row when (current_setting('switchboard.importing', true) is distinct from 'true')
    execute function private.emit_event('session.started');

create trigger sessions_emit_ended after update of status on public.sessions
    for each row when (old.status in ('active', 'paused') and new.status in ('completed', 'timeout'))
    execute function private.emit_event('status');

create trigger sessions_emit_taken_over after update of taken_over_by on public.sessions
    for each row when (new.taken_over_by is not null and old.taken_over_by is distinct from new.taken_over_by)
    execute function private.emit_event('session.taken_over');

create trigger workflow_steps_emit_event after insert on public.workflow_steps
    for each row when (current_setting('switchboard.importing', true) is distinct from 'true')
    execute function private.emit_event('workflow.step');

create trigger contact_merges_emit_event after insert on public.contact_merges
    for each row execute function private.emit_event('contact.merged');

create trigger audit_events_emit_event after insert on public.audit_events
    for each row when (new.verb in ('contact.registered', 'quote.received', 'proposal.sent', 'session.archived'))
    execute function private.emit_event('audit');

grant execute on function
    private.subscription_secrets, public.read_delivery, public.record_delivery
    to switchboard;

grant execute on function
    private.queue_delivery, public.test_event_subscription, public.replay_event_delivery
    to service_role, switchboard;
