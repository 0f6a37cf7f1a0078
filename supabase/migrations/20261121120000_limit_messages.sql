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
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    limits jsonb := pg_catalog.jsonb_build_object(
        'arrivals_by_space', pg_catalog.jsonb_build_object(
            'place', 6, 'subject', space.id, 'quota', space.arrivals_per_minute, 'object_id', space.id));
begin
    if address is not null then
        limits := limits || pg_catalog.jsonb_build_object(
            'arrivals_by_address', pg_catalog.jsonb_build_object(
                'place', 5, 'subject', private.limit_subject(address), 'quota', space.arrivals_per_minute_by_address, 'object_id', space.id));
    end if;
    return limits;
end;
$$;
comment on function private.arrival_limits(public.spaces, text) is
    'The limits on who arrives without a token: {name: {place, subject, quota (per minute), object_id}}.';

create function private.message_limits(workspace public.workspaces, space public.spaces, address text)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    caller constant jsonb := private.claims() -> 'caller';
    -- From the least shared to the most: the row that everybody waits for is held for the shortest time.
    limits jsonb := pg_catalog.jsonb_build_object(
        'messages_by_space', pg_catalog.jsonb_build_object(
            'place', 4, 'subject', space.id, 'quota', workspace.messages_per_minute_by_space, 'object_id', space.id));
begin
    if address is not null then
        limits := limits || pg_catalog.jsonb_build_object(
            'messages_by_address', pg_catalog.jsonb_build_object(
                'place', 3, 'subject', private.limit_subject(address), 'quota', workspace.messages_per_minute_by_address, 'object_id', space.id));
    end if;
    if caller ->> 'user_id' is not null then
        limits := limits || pg_catalog.jsonb_build_object(
            'messages_by_user', pg_catalog.jsonb_build_object(
                'place', 2, 'subject', caller -> 'user_id', 'quota', workspace.messages_per_minute_by_user, 'object_id', caller -> 'user_id'));
    end if;
    if caller ->> 'contact_id' is not null then
        limits := limits || pg_catalog.jsonb_build_object(
            'messages_by_contact', pg_catalog.jsonb_build_object(
                'place', 1, 'subject', caller -> 'contact_id', 'quota', workspace.messages_per_minute_by_contact, 'object_id', caller -> 'contact_id'));
    end if;
    return limits;
end;
$$;
comment on function private.message_limits(public.workspaces, public.spaces, text) is
    'The limits on the caller''s messages: {name: {place, subject, quota (per minute), object_id}}.';

create function private.limit_refusal(limits jsonb, name text, seconds integer)
    returns jsonb
    language sql
    immutable
    set search_path = ''
as $$
    select pg_catalog.jsonb_build_object(
               'status', 429, 'code', 'rate_limited', 'title', 'Too many requests.',
               'retry_after', greatest(seconds, 1), 'limit', name,
               'limits', pg_catalog.jsonb_build_array(pg_catalog.jsonb_build_object(
                   'name', name, 'quota', limits -> name -> 'quota', 'remaining', 0, 'reset', greatest(seconds, 1))),
               'subject', limits -> name -> 'subject', 'object_id', limits -> name -> 'object_id');
$$;
comment on function private.limit_refusal(jsonb, text, integer) is 'What is said of a limit that is used up for so many seconds.';

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
      from pg_catalog.jsonb_each(limits) as l (name, terms)
      join public.rate_limits r
        on r.workspace_id = private.entered_workspace() and r.name = l.name and r.subject = l.terms ->> 'subject'
     where r.window_started_at > pg_catalog.now() - interval '1 minute'
       and r.taken >= (l.terms -> 'quota')::integer
     order by l.terms -> 'place'
     limit 1;
    if found then
        perform private.raise_refusal(private.limit_refusal(limits, used_up.name, pg_catalog.ceil(
            extract(epoch from used_up.window_started_at + interval '1 minute' - pg_catalog.now()))::integer));
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
    used      record;
    remaining integer;
    taken     jsonb := '[]'::jsonb;
begin
    -- In the order of their places: two callers then never wait for each other in a circle.
    for used in
        insert into public.rate_limits as r (workspace_id, name, subject, taken)
        select private.entered_workspace(), l.name, l.terms ->> 'subject', 1
          from pg_catalog.jsonb_each(limits) as l (name, terms)
         order by l.terms -> 'place'
        on conflict on constraint rate_limits_pkey do update
           set taken             = case when r.window_started_at > pg_catalog.now() - interval '1 minute' then r.taken + 1 else 1 end,
               refused           = case when r.window_started_at > pg_catalog.now() - interval '1 minute' then r.refused   else 0 end,
               window_started_at = case when r.window_started_at > pg_catalog.now() - interval '1 minute' then r.window_started_at else pg_catalog.now() end
        returning r.name, r.taken,
                  pg_catalog.ceil(extract(epoch from r.window_started_at + interval '1 minute' - pg_catalog.now()))::integer as seconds
    loop
        remaining := (limits -> used.name -> 'quota')::integer - used.taken;
        if remaining < 0 then
            perform private.raise_refusal(private.limit_refusal(limits, used.name, used.seconds));
        end if;
        taken := taken || pg_catalog.jsonb_build_object(
            'name', used.name, 'quota', limits -> used.name -> 'quota', 'remaining', remaining, 'reset', used.seconds);
    end loop;
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
    private.arrival_limits(public.spaces, text), private.message_limits(public.workspaces, public.spaces, text),
    private.limit_refusal(jsonb, text, integer), private.check_limits(jsonb), private.take_limits(jsonb),
    private.count_attempt(jsonb)
    to switchboard;
