-- Generated from supabase/schemas/60_webhooks.sql.
set lock_timeout = '5s';
set statement_timeout = '60s';
set check_function_bodies = off;

-- Inbound events: webhook deliveries, stored raw and deduplicated.

create table public.inbound_events (
    id           uuid        not null default private.uuid7(),
    workspace_id uuid        not null,
    source       text        not null,
    delivery_key text        not null,
    headers      jsonb       not null default '{}',
    raw_body     text        not null,
    received_at  timestamptz not null default now(),
    constraint inbound_events_pkey              primary key (id),
    constraint inbound_events_workspace_key     unique (workspace_id, id),
    constraint inbound_events_delivery_key      unique (workspace_id, source, delivery_key),
    constraint inbound_events_workspace_id_fkey foreign key (workspace_id) references public.workspaces (id) on delete cascade,
    constraint inbound_events_lengths           check (length(source) between 1 and 64 and length(delivery_key) between 1 and 400)
);
comment on table public.inbound_events is 'One webhook delivery, as it came.';
comment on column public.inbound_events.delivery_key is 'What makes a delivery the same one when it is sent again.';
comment on column public.inbound_events.headers is 'Chosen headers; never one that carries a secret.';
alter table public.inbound_events enable row level security;

create function public.record_event(
    source       text,
    delivery_key text,
    headers      jsonb,
    raw_body     text,
    job_kind     text,
    ordering_key text default null
)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter();
    event     uuid;
    job       uuid;
begin
    insert into public.inbound_events as e (workspace_id, source, delivery_key, headers, raw_body)
    values (workspace, record_event.source, record_event.delivery_key, record_event.headers, record_event.raw_body)
    on conflict on constraint inbound_events_delivery_key do nothing
    returning e.id into event;
    if event is null then
        select e.id, case when j.status in ('queued', 'running') then j.id end
          into event, job
          from public.inbound_events e
          left join public.jobs j on j.event_id = e.id
         where e.workspace_id = workspace
           and e.source = record_event.source
           and e.delivery_key = record_event.delivery_key;
        return jsonb_build_object('event_id', event, 'job_id', job, 'duplicate', true);
    end if;
    insert into public.jobs (workspace_id, kind, event_id, ordering_key)
    values (workspace, record_event.job_kind, event, record_event.ordering_key)
    returning id into job;
    return jsonb_build_object('event_id', event, 'job_id', job, 'duplicate', false);
end;
$$;
comment on function public.record_event is 'Stores a verified delivery as it came and queues its job; a delivery that came before is only found again. job_id is null once its job is done.';

grant execute on function
    public.record_event
    to switchboard;
