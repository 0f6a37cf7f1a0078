-- Generated from supabase/schemas/19_read_limits.sql.
set lock_timeout = '5s';
set statement_timeout = '60s';
set check_function_bodies = off;

-- Limits of reading: requests per minute and open streams of a caller, counted for all processes of the functions. The rows
-- are of no use after a crash, so they are not written to the log of changes (unlogged).

create unlogged table private.reads (
    subject           text        not null,
    window_started_at timestamptz not null default now(),
    taken             integer     not null default 1,
    constraint reads_pkey primary key (subject)
);
comment on table private.reads is 'How often a user, or the contact of a conversation, has read in the current minute, and a user tried to link a device (links …).';
alter table private.reads enable row level security;

create unlogged table private.open_streams (
    id      uuid        not null,
    subject text        not null,
    address text,
    ends_at timestamptz not null,
    constraint open_streams_pkey primary key (id)
);
comment on table private.open_streams is 'The streams that follow a turn or a conversation.';
comment on column private.open_streams.ends_at is 'The time limit of the stream, for one whose process died before it closed.';
alter table private.open_streams enable row level security;
create index open_streams_subject_idx on private.open_streams (subject);
create index open_streams_address_idx on private.open_streams (address);

create function private.reader()
    returns text language plpgsql stable set search_path = ''
as $$
declare
    caller constant jsonb := private.claims() -> 'caller';
begin
    -- Not the contact: a person who has only typed its email must not use up what is the contact's.
    return coalesce(caller ->> 'user_id', caller ->> 'conversation_id');
end;
$$;
comment on function private.reader is 'What limits of reading count: the user, or the conversation of a contact''s token; null for others.';

create function private.count_minute(subject text, out times integer, out seconds integer)
    language plpgsql set search_path = ''
as $$
begin
    insert into private.reads as r (subject)
    values (count_minute.subject)
    on conflict on constraint reads_pkey do update
       set taken             = case when r.window_started_at > now() - interval '1 minute' then r.taken + 1 else 1 end,
           window_started_at = case when r.window_started_at > now() - interval '1 minute' then r.window_started_at else now() end
    returning r.taken, ceil(extract(epoch from r.window_started_at + interval '1 minute' - now())) into times, seconds;
end;
$$;
comment on function private.count_minute is 'Counts one of the current minute: how many there are now, and the seconds until the next minute.';

create function public.count_read(quota integer)
    returns jsonb language plpgsql security definer set search_path = ''
as $$
declare
    reader  constant text := private.reader();
    times   integer;
    seconds integer;
begin
    if reader is null then
        raise sqlstate 'PT403' using message = 'forbidden';
    end if;
    select c.times, c.seconds into times, seconds from private.count_minute(reader) c;
    if times > quota then
        return private.refuse(private.limit_refusal(
                   jsonb_build_object('reads_by_caller', jsonb_build_object('quota', quota)), 'reads_by_caller', seconds)
               - '{subject,object_id}'::text[]);
    end if;
    return jsonb_build_object('limits', jsonb_build_array(jsonb_build_object(
               'name', 'reads_by_caller', 'quota', quota, 'remaining', quota - times, 'reset', greatest(seconds, 1))));
end;
$$;
comment on function public.count_read is 'Counts a read of the caller against a quota per minute: {limits}, or the refusal.';

create function public.open_stream(
    stream_id  uuid,
    address    text,
    seconds    integer,
    by_caller  integer,
    by_address integer
)
    returns jsonb language plpgsql security definer set search_path = ''
as $$
declare
    origin constant text := private.limit_subject(address);
    reader constant text := coalesce(private.reader(), origin);
begin
    if reader is null then
        raise sqlstate 'PT403' using message = 'forbidden';
    end if;
    -- Two openings of a caller cannot both take the last place. Those of an address may: the count is a bound, not exact.
    perform pg_advisory_xact_lock(hashtextextended('switchboard.streams.' || reader, 0));
    delete from private.open_streams s where s.subject = reader and s.ends_at < now();
    if by_caller <= (select count(*) from private.open_streams s where s.subject = reader)
       or by_address <= (select count(*) from private.open_streams s where s.address = origin and s.ends_at >= now()) then
        return private.refuse('{"status": 429, "code": "too_many_streams", "retry_after": 15}');
    end if;
    insert into private.open_streams (id, subject, address, ends_at)
    values (stream_id, reader, origin, now() + make_interval(secs => seconds));
    return '{}'::jsonb;
end;
$$;
comment on function public.open_stream is 'Registers a stream of the caller, which lasts at most so many seconds, or refuses it (too_many_streams): {}.';

create function public.close_stream(stream_id uuid)
    returns jsonb language plpgsql security definer set search_path = ''
as $$
begin
    if private.claims() -> 'caller' is null then
        raise sqlstate 'PT403' using message = 'forbidden';
    end if;
    delete from private.open_streams s where s.id = stream_id;
    return '{}'::jsonb;
end;
$$;
comment on function public.close_stream is 'Removes a stream, whose id only its process knows: {}.';

grant execute on function
    public.count_read, public.open_stream, public.close_stream
    to switchboard;
