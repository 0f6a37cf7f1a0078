-- What a message costs. An expression of plpgsql, a statement and a call are each set up anew in every transaction, and a turn
-- is two short ones: what it calls does the same with fewer of them.

set lock_timeout = '5s';
set statement_timeout = '60s';

-- The key to the session holds the conversation's, too, and what is deleted goes with the session. One check less a row.
-- squawk-ignore ban-drop-constraint
alter table public.turns drop constraint turns_conversation_id_fkey;
-- squawk-ignore ban-drop-constraint
alter table public.messages drop constraint messages_conversation_id_fkey;

create or replace function private.uuid7()
    returns uuid
    language plpgsql
    volatile
    parallel safe
    set search_path = ''
as $$
begin
    -- RFC 9562, section 5.7: 48 bits of Unix milliseconds, then the version, then the rest of a random (version 4) id.
    return (pg_catalog.lpad(pg_catalog.to_hex((pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000)::bigint), 12, '0')
            || '7' || pg_catalog.substr(pg_catalog.gen_random_uuid()::text, 16))::uuid;
end;
$$;

create or replace function private.enter()
    returns uuid
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    scope constant jsonb := private.claims() -> 'scope';
begin
    if scope ? 'space_id' or scope ->> 'workspace_id' is null then
        -- A space is where somebody arrives, perhaps without a name. It is no way in to what others have started.
        if scope ? 'space_id' then
            raise sqlstate 'PT403' using message = 'forbidden', detail = 'This needs the scope of a workspace.';
        end if;
        raise sqlstate 'PT404' using message = 'space_not_found', detail = 'There is no such space.';
    end if;
    return pg_catalog.set_config('switchboard.workspace_id', (scope ->> 'workspace_id')::uuid::text, true)::uuid;
end;
$$;

create or replace function private.message_limits(workspace public.workspaces, space public.spaces, address text)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    caller constant jsonb := private.claims() -> 'caller';
begin
    -- From the least shared to the most: the row that everybody waits for is held for the shortest time. What is not there
    -- has no limit.
    return pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
        'messages_by_contact', case when caller ->> 'contact_id' is not null then pg_catalog.jsonb_build_object(
            'place', 1, 'subject', caller -> 'contact_id', 'quota', workspace.messages_per_minute_by_contact, 'object_id', caller -> 'contact_id') end,
        'messages_by_user', case when caller ->> 'user_id' is not null then pg_catalog.jsonb_build_object(
            'place', 2, 'subject', caller -> 'user_id', 'quota', workspace.messages_per_minute_by_user, 'object_id', caller -> 'user_id') end,
        'messages_by_address', case when address is not null then pg_catalog.jsonb_build_object(
            'place', 3, 'subject', private.limit_subject(address), 'quota', workspace.messages_per_minute_by_address, 'object_id', space.id) end,
        'messages_by_space', pg_catalog.jsonb_build_object(
            'place', 4, 'subject', space.id, 'quota', workspace.messages_per_minute_by_space, 'object_id', space.id)));
end;
$$;

create or replace function private.take_limits(limits jsonb)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    workspace constant uuid := private.entered_workspace();
    taken     jsonb;
    fewest    integer;
    refused   jsonb;
begin
    with used as (
        -- In the order of their places: two callers then never wait for each other in a circle.
        insert into public.rate_limits as r (workspace_id, name, subject, taken)
        select workspace, l.name, l.terms ->> 'subject', 1
          from pg_catalog.jsonb_each(limits) as l (name, terms)
         order by l.terms -> 'place'
        on conflict on constraint rate_limits_pkey do update
           set taken             = case when r.window_started_at > pg_catalog.now() - interval '1 minute' then r.taken + 1 else 1 end,
               refused           = case when r.window_started_at > pg_catalog.now() - interval '1 minute' then r.refused   else 0 end,
               window_started_at = case when r.window_started_at > pg_catalog.now() - interval '1 minute' then r.window_started_at else pg_catalog.now() end
        returning r.name, (limits -> r.name -> 'quota')::integer - r.taken as remaining,
                  pg_catalog.ceil(extract(epoch from r.window_started_at + interval '1 minute' - pg_catalog.now()))::integer as seconds
    )
    select pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
               'name', u.name, 'quota', limits -> u.name -> 'quota', 'remaining', u.remaining, 'reset', u.seconds)),
           pg_catalog.min(u.remaining)
      into taken, fewest
      from used u;
    if fewest < 0 then
        -- The first of them in their order says it.
        select t.state into refused
          from pg_catalog.jsonb_array_elements(taken) with ordinality as t (state, place)
         where (t.state -> 'remaining')::integer < 0
         order by t.place
         limit 1;
        perform private.raise_refusal(private.limit_refusal(limits, refused ->> 'name', (refused -> 'reset')::integer));
    end if;
    return coalesce(taken, '[]');
end;
$$;

-- An index that a row need not be in is one less to write to. A message is a contact's, a persona's or a user's, never two of
-- them. A conversation's turns are found by their client's ids, which begin with the conversation.
-- squawk-ignore require-concurrent-index-deletion
drop index public.messages_contact_id_idx;
-- squawk-ignore require-concurrent-index-deletion
drop index public.messages_persona_id_idx;
-- squawk-ignore require-concurrent-index-deletion
drop index public.turns_conversation_id_idx;
-- squawk-ignore require-concurrent-index-creation
create index messages_contact_id_idx on public.messages (contact_id) where contact_id is not null;
-- squawk-ignore require-concurrent-index-creation
create index messages_persona_id_idx on public.messages (persona_id) where persona_id is not null;
