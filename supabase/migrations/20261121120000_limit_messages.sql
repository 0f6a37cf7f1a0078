-- How many messages a workspace takes in a minute: by contact, user, address and space. Limits are taken together, in one
-- statement and always in the same order, and their state goes back to the caller, who may pace itself by it.

set lock_timeout = '5s';
set statement_timeout = '60s';

alter table public.workspaces
    add column messages_per_minute_by_contact integer not null default 60,
    add column messages_per_minute_by_user    integer not null default 120,
    add column messages_per_minute_by_address integer not null default 600,
    add column messages_per_minute_by_space   integer not null default 6000,
    -- A workspace is one row; checking them all takes no time.
    -- squawk-ignore constraint-missing-not-valid
    add constraint workspaces_messages_per_minute check (
        messages_per_minute_by_contact > 0 and messages_per_minute_by_user > 0
        and messages_per_minute_by_address > 0 and messages_per_minute_by_space > 0);
comment on column public.workspaces.messages_per_minute_by_contact is 'Messages that one contact may send in a minute.';
comment on column public.workspaces.messages_per_minute_by_user    is 'Messages that one signed-in user may send in a minute.';
comment on column public.workspaces.messages_per_minute_by_address is 'Messages that may come from one address (IPv6: one /64) in a minute.';
comment on column public.workspaces.messages_per_minute_by_space   is 'Messages that one space takes in a minute.';

comment on column public.rate_limits.subject is 'Whom it limits: a contact''s, user''s or space''s id, a network address.';

create function private.arrival_limits(space public.spaces, address text)
    returns jsonb
    language sql
    stable
    set search_path = ''
as $$
    select pg_catalog.jsonb_agg(l order by l.place)
      from (values (5, 'arrivals_by_address', private.limit_subject(address), space.arrivals_per_minute_by_address, space.id),
                   (6, 'arrivals_by_space', space.id::text, space.arrivals_per_minute, space.id))
             as l (place, name, subject, quota, object_id)
     where l.subject is not null;
$$;
comment on function private.arrival_limits(public.spaces, text) is
    'The limits on who arrives without a token: [{place, name, subject, quota (per minute), object_id}].';

create function private.message_limits(space public.spaces, address text)
    returns jsonb
    language sql
    stable
    set search_path = ''
as $$
    -- From the least shared to the most: the row that everybody waits for is held for the shortest time.
    select pg_catalog.jsonb_agg(l order by l.place)
      from public.workspaces w
     cross join (select private.claims() -> 'caller' as caller) c
     cross join lateral (
            values (1, 'messages_by_contact', c.caller ->> 'contact_id', w.messages_per_minute_by_contact, (c.caller ->> 'contact_id')::uuid),
                   (2, 'messages_by_user', c.caller ->> 'user_id', w.messages_per_minute_by_user, (c.caller ->> 'user_id')::uuid),
                   (3, 'messages_by_address', private.limit_subject(address), w.messages_per_minute_by_address, space.id),
                   (4, 'messages_by_space', space.id::text, w.messages_per_minute_by_space, space.id)
          ) as l (place, name, subject, quota, object_id)
     where w.id = space.workspace_id
       and l.subject is not null;
$$;
comment on function private.message_limits(public.spaces, text) is
    'The limits on the caller''s messages: [{place, name, subject, quota (per minute), object_id}].';

create function private.limit_refusal(limits jsonb, name text, seconds numeric)
    returns jsonb
    language sql
    immutable
    set search_path = ''
as $$
    select pg_catalog.jsonb_build_object(
               'status', 429, 'code', 'rate_limited', 'title', 'Too many requests.',
               'retry_after', greatest(pg_catalog.ceil(seconds)::integer, 1), 'limit', l ->> 'name',
               'limits', pg_catalog.jsonb_build_array(pg_catalog.jsonb_build_object(
                   'name', l ->> 'name', 'quota', l -> 'quota', 'remaining', 0, 'reset', greatest(pg_catalog.ceil(seconds)::integer, 1))),
               'subject', l ->> 'subject', 'object_id', l ->> 'object_id')
      from pg_catalog.jsonb_array_elements(limits) l
     where l ->> 'name' = limit_refusal.name;
$$;
comment on function private.limit_refusal(jsonb, text, numeric) is 'What is said of a limit that is used up for so many seconds.';

create function private.check_limits(limits jsonb)
    returns void
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    used_up public.rate_limits;
begin
    select r.* into used_up
      from pg_catalog.jsonb_to_recordset(limits) as l (place integer, name text, subject text, quota integer)
      join public.rate_limits r on r.workspace_id = private.entered_workspace() and r.name = l.name and r.subject = l.subject
     where r.window_started_at > pg_catalog.now() - interval '1 minute'
       and r.taken >= l.quota
     order by l.place
     limit 1;
    if found then
        perform private.raise_refusal(private.limit_refusal(
            limits, used_up.name, extract(epoch from used_up.window_started_at + interval '1 minute' - pg_catalog.now())));
    end if;
end;
$$;
comment on function private.check_limits(jsonb) is 'Refuses early, without a lock, what a used-up limit would refuse in the end.';

create function private.take_limits(limits jsonb)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    taken jsonb;
    over  jsonb;
begin
    -- In the order of their places: two callers then never wait for each other in a circle.
    with used as (
        insert into public.rate_limits as r (workspace_id, name, subject, taken)
        select private.entered_workspace(), l.name, l.subject, 1
          from pg_catalog.jsonb_to_recordset(limits) as l (place integer, name text, subject text)
         order by l.place
        on conflict on constraint rate_limits_pkey do update
           set taken             = case when r.window_started_at > pg_catalog.now() - interval '1 minute' then r.taken + 1 else 1 end,
               refused           = case when r.window_started_at > pg_catalog.now() - interval '1 minute' then r.refused   else 0 end,
               window_started_at = case when r.window_started_at > pg_catalog.now() - interval '1 minute' then r.window_started_at else pg_catalog.now() end
        returning r.name, r.taken, extract(epoch from r.window_started_at + interval '1 minute' - pg_catalog.now()) as seconds
    )
    select pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
               'name', u.name, 'quota', l.quota, 'remaining', l.quota - u.taken, 'reset', pg_catalog.ceil(u.seconds)::integer)
               order by l.place)
      into taken
      from used u
      join pg_catalog.jsonb_to_recordset(limits) as l (place integer, name text, quota integer) on l.name = u.name;
    select t into over
      from pg_catalog.jsonb_array_elements(taken) with ordinality as e (t, place)
     where (t ->> 'remaining')::integer < 0
     order by place
     limit 1;
    if found then
        perform private.raise_refusal(private.limit_refusal(limits, over ->> 'name', (over ->> 'reset')::numeric));
    end if;
    return taken;
end;
$$;
comment on function private.take_limits(jsonb) is
    'Takes one from each limit of the current minute, or refuses: [{name, quota, remaining, reset (s)}]. Hot rows: call it last.';

create or replace function private.count_refusal(refusal jsonb)
    returns void
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    times integer;
begin
    if refusal ? 'limit' then
        insert into public.rate_limits as r (workspace_id, name, subject, refused)
        values (private.entered_workspace(), refusal ->> 'limit', refusal ->> 'subject', 1)
        on conflict on constraint rate_limits_pkey do update
           set refused = r.refused + 1
        returning r.refused into times;
        -- Once a minute says it; how often is in the count.
        if times = 1 then
            perform private.record_audit('limit.exceeded', (refusal ->> 'object_id')::uuid, null, refusal ->> 'limit');
        end if;
    end if;
end;
$$;
comment on function private.count_refusal(jsonb) is 'Keeps count of a refusal by a limit, after the writes it undid; the minute''s first is audited.';

create function private.count_attempt(limits jsonb)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
begin
    return private.take_limits(limits);
exception when sqlstate 'SB001' then
    -- Refused already, for another reason.
    return '[]'::jsonb;
end;
$$;
comment on function private.count_attempt(jsonb) is
    'Takes from the limits for a request that is refused for another reason, as nobody tries for free; what take_limits says, [] where one was used up.';

grant execute on function
    private.arrival_limits(public.spaces, text), private.message_limits(public.spaces, text),
    private.limit_refusal(jsonb, text, numeric), private.check_limits(jsonb), private.take_limits(jsonb),
    private.count_attempt(jsonb)
    to switchboard;
