-- Generated from supabase/schemas/18_rate_limits.sql.
set lock_timeout = '5s';
set statement_timeout = '60s';
set check_function_bodies = off;

-- Rate limits: counters per minute, taken last in a transaction because many transactions wait for the same row.

create table public.rate_limits (
    workspace_id      uuid        not null,
    name              text        not null,
    subject           text        not null,
    window_started_at timestamptz not null default now(),
    taken             integer     not null default 0,
    refused           integer     not null default 0,
    constraint rate_limits_pkey              primary key (workspace_id, name, subject),
    constraint rate_limits_workspace_id_fkey foreign key (workspace_id) references public.workspaces (id) on delete cascade,
    constraint rate_limits_lengths           check (length(name) between 1 and 64 and length(subject) between 1 and 200)
);
comment on table public.rate_limits is 'How much of each limit is used in its current window of one minute.';
comment on column public.rate_limits.subject is 'What the limit''s setting belongs to: the id of a contact, user or space, a network address (a setting of the workspace), or a space and an address (a setting of the space).';
comment on column public.rate_limits.refused is 'Refusals within the window.';
alter table public.rate_limits enable row level security;

create function private.count_refusal(refusal jsonb)
    returns void language plpgsql set search_path = ''
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
        -- Audited once a minute; the row has the count.
        if times = 1 then
            perform private.record_audit('limit.exceeded', (refusal ->> 'object_id')::uuid, null, refusal ->> 'limit');
        end if;
    end if;
end;
$$;
comment on function private.count_refusal is 'Counts a refusal by a rate limit after its writes were undone, and audits the first one of the minute.';

create function private.count_and_refuse(refusal jsonb)
    returns jsonb language plpgsql set search_path = ''
as $$
begin
    perform private.count_refusal(refusal);
    return private.refuse(refusal - '{subject,object_id}'::text[]);
end;
$$;
comment on function private.count_and_refuse is 'Counts a refusal after its writes were undone, and returns it.';

create function private.limit_subject(address text)
    returns text language plpgsql immutable set search_path = ''
as $$
begin
    -- A subscriber with IPv6 has at least a /64.
    return case when address like '%:%'
                then network(set_masklen(address::inet, 64))::text
                else address end;
end;
$$;
comment on function private.limit_subject is 'What a limit by address counts: an IPv4 address, or the /64 of an IPv6 address.';

create function private.arrival_limits(space public.spaces, address text)
    returns jsonb language plpgsql stable set search_path = ''
as $$
declare
    limits jsonb := jsonb_build_object(
        'arrivals_by_space', jsonb_build_object(
            'place', 6, 'subject', space.id, 'quota', space.arrivals_per_minute, 'object_id', space.id));
begin
    -- A server with a key sends the arrivals of all its visitors from one address.
    if address is not null and private.calling_kind() <> 'key' then
        limits := limits || jsonb_build_object(
            'arrivals_by_address', jsonb_build_object(
                'place', 5, 'subject', space.id || ' ' || private.limit_subject(address), 'quota', space.arrivals_per_minute_by_address, 'object_id', space.id));
    end if;
    return limits;
end;
$$;
comment on function private.arrival_limits is 'The limits for arrivals, such as callers without a token: {name: {place, subject, quota (per minute), object_id}}.';

create function private.message_limits(workspace public.workspaces, space public.spaces, address text)
    returns jsonb language plpgsql stable set search_path = ''
as $$
declare
    caller constant jsonb   := private.claims() -> 'caller';
    -- A server with a key sends the messages of many contacts to a space from one address.
    serves constant boolean := caller ->> 'kind' = 'key' and space.id is not null;
begin
    -- From the least to the most shared row, so that the most contended one is locked for the shortest time.
    return jsonb_strip_nulls(jsonb_build_object(
        'messages_by_contact', case when caller ->> 'contact_id' is not null then jsonb_build_object(
            'place', 1, 'subject', caller -> 'contact_id', 'quota', workspace.messages_per_minute_by_contact, 'object_id', caller -> 'contact_id') end,
        'messages_by_user', case when caller ->> 'user_id' is not null and not serves then jsonb_build_object(
            'place', 2, 'subject', caller -> 'user_id', 'quota', workspace.messages_per_minute_by_user, 'object_id', caller -> 'user_id') end,
        'messages_by_address', case when address is not null and not serves then jsonb_build_object(
            'place', 3, 'subject', private.limit_subject(address), 'quota', workspace.messages_per_minute_by_address,
            'object_id', coalesce(space.id, workspace.id)) end,
        'messages_by_space', case when space.id is not null then jsonb_build_object(
            'place', 4, 'subject', space.id, 'quota', workspace.messages_per_minute_by_space, 'object_id', space.id) end));
end;
$$;
comment on function private.message_limits is 'The limits for the caller''s messages: {name: {place, subject, quota (per minute), object_id}}.';

create function private.limit_refusal(limits jsonb, name text, seconds integer)
    returns jsonb language sql immutable set search_path = ''
as $$
    select jsonb_build_object(
               'status', 429, 'code', 'rate_limited',
               'retry_after', greatest(seconds, 1), 'limit', name,
               'limits', jsonb_build_array(jsonb_build_object(
                   'name', name, 'quota', limits -> name -> 'quota', 'remaining', 0, 'reset', greatest(seconds, 1))),
               'subject', limits -> name -> 'subject', 'object_id', limits -> name -> 'object_id');
$$;
comment on function private.limit_refusal is 'The refusal by a limit that is used up for the given seconds.';

create function private.check_limits(limits jsonb)
    returns void language plpgsql stable set search_path = ''
as $$
declare
    used_up public.rate_limits;
begin
    select r.* into used_up
      from jsonb_each(limits) as l (name, terms)
      join public.rate_limits r
        on r.workspace_id = private.entered_workspace() and r.name = l.name and r.subject = l.terms ->> 'subject'
     where r.window_started_at > now() - interval '1 minute'
       and r.taken >= (l.terms -> 'quota')::integer
     order by l.terms -> 'place'
     limit 1;
    if found then
        perform private.raise_refusal(private.limit_refusal(limits, used_up.name, ceil(
            extract(epoch from used_up.window_started_at + interval '1 minute' - now()))::integer));
    end if;
end;
$$;
comment on function private.check_limits is 'Refuses early, without a lock, if a limit is used up.';

create function private.take_limits(limits jsonb)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.entered_workspace();
    taken     jsonb;
    fewest    integer;
    refused   jsonb;
begin
    with used as (
        -- Always in the order of their places, so that two transactions cannot deadlock.
        insert into public.rate_limits as r (workspace_id, name, subject, taken)
        select workspace, l.name, l.terms ->> 'subject', 1
          from jsonb_each(limits) as l (name, terms)
         order by l.terms -> 'place'
        on conflict on constraint rate_limits_pkey do update
           set taken             = case when r.window_started_at > now() - interval '1 minute' then r.taken + 1 else 1 end,
               refused           = case when r.window_started_at > now() - interval '1 minute' then r.refused   else 0 end,
               window_started_at = case when r.window_started_at > now() - interval '1 minute' then r.window_started_at else now() end
        returning r.name, (limits -> r.name -> 'quota')::integer - r.taken as remaining,
                  ceil(extract(epoch from r.window_started_at + interval '1 minute' - now()))::integer as seconds
    )
    select jsonb_agg(jsonb_build_object(
               'name', u.name, 'quota', limits -> u.name -> 'quota', 'remaining', u.remaining, 'reset', u.seconds)),
           min(u.remaining)
      into taken, fewest
      from used u;
    if fewest < 0 then
        -- The first used-up limit in that order is reported.
        select t.state into refused
          from jsonb_array_elements(taken) with ordinality as t (state, place)
         where (t.state -> 'remaining')::integer < 0
         order by t.place
         limit 1;
        perform private.raise_refusal(private.limit_refusal(limits, refused ->> 'name', (refused -> 'reset')::integer));
    end if;
    return coalesce(taken, '[]');
end;
$$;
comment on function private.take_limits is 'Takes one from each limit of the current minute, or refuses: [{name, quota, remaining, reset (s)}]. Many transactions wait for these rows: call it last.';

create function private.count_attempt(limits jsonb)
    returns jsonb language plpgsql set search_path = ''
as $$
begin
    return private.take_limits(limits);
exception when sqlstate 'SB001' then
    -- The request is already refused for another reason.
    return '[]'::jsonb;
end;
$$;
comment on function private.count_attempt is 'Takes from the limits for a request that was refused for another reason; [] if a limit is used up.';

grant execute on function
    private.count_refusal, private.count_and_refuse, private.limit_subject, private.arrival_limits, private.message_limits,
    private.limit_refusal, private.check_limits, private.take_limits, private.count_attempt
    to switchboard;
