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
create index inbound_events_received_at_idx on public.inbound_events (workspace_id, received_at, id);

create function public.record_event(source text, delivery_key text, headers jsonb, raw_body text, items jsonb)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter();
    event     uuid;
    queued    integer := 0;
begin
    insert into public.inbound_events as e (workspace_id, source, delivery_key, headers, raw_body)
    values (workspace, record_event.source, record_event.delivery_key, record_event.headers, record_event.raw_body)
    on conflict on constraint inbound_events_delivery_key do nothing
    returning e.id into event;
    if event is not null then
        -- A delivery of several items may come again in other groups.
        -- What is parked is dead from the start, so that admins see, replay or discard it.
        insert into public.jobs (workspace_id, kind, event_id, item_key, ordering_key, payload, status, finished_at, last_error)
        select workspace, coalesce(i.kind, 'unknown_event'), event, i.key, i.ordering_key, coalesce(i.payload, '{}'),
               case when i.kind is null then 'dead' else 'queued' end::public.job_status,
               case when i.kind is null then now() end, case when i.kind is null then i.reason end
          from rows from (jsonb_to_recordset(items) as (key text, kind text, ordering_key text, payload jsonb, reason text))
               with ordinality as i (key, kind, ordering_key, payload, reason, place)
         order by i.place
        on conflict (workspace_id, kind, item_key) where item_key is not null do nothing;
        get diagnostics queued = row_count;
    end if;
    return jsonb_build_object(
        'event_id', coalesce(event, (select e.id
                                       from public.inbound_events e
                                      where e.workspace_id = workspace
                                        and e.source = record_event.source
                                        and e.delivery_key = record_event.delivery_key)),
        'duplicate', queued = 0,
        'job_ids', (select coalesce(jsonb_agg(j.id order by j.seq), '[]')
                      from jsonb_to_recordset(items) as i (key text, kind text)
                      join public.jobs j on j.workspace_id = workspace
                                        and j.kind = i.kind
                                        and j.item_key = i.key
                     where j.status in ('queued', 'running')));
end;
$$;
comment on function public.record_event is 'Stores a verified delivery as it came and queues a job for each of its items: [{key, kind, ordering_key, payload, reason}]. A delivery or an item that came before changes nothing. An item without a kind is parked for the reason: as a dead job of the kind unknown_event. {event_id, duplicate, job_ids}: whether nothing is new, and the jobs of the items that are not done.';

grant execute on function
    public.record_event
    to switchboard;
