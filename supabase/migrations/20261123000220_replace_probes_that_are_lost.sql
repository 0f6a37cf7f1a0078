-- A turn that finds out whether a persona is back, and whose process died, kept everybody else waiting until the sweep ended
-- it. Now it is replaced as soon as it is known that nobody answers it any more. And whoever waits for one that goes on is
-- told to wait longer the longer it takes.

set lock_timeout = '5s';
set statement_timeout = '60s';

create function private.probe_is_lost(breaker public.persona_breakers)
    returns boolean
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    -- A lease is 30 s from the last flush, and after six without one there is nobody (private.stop_turn). Where it was the
    -- database that was away, two find out instead of one, and what the first one says is not heard.
    return breaker.state = 'half_open'
       and not exists (select
                         from public.turns t
                        where t.id = breaker.probe_turn_id
                          and t.status = 'active'
                          and t.lease_until > pg_catalog.clock_timestamp() + interval '24 seconds');
end;
$$;
comment on function private.probe_is_lost(public.persona_breakers) is 'Whether nobody answers any more the turn that finds out.';
grant execute on function private.probe_is_lost(public.persona_breakers) to switchboard;

create or replace function private.breaker_refusal(breaker public.persona_breakers)
    returns jsonb
    language sql
    stable
    set search_path = ''
as $$
    select pg_catalog.jsonb_build_object(
               'status', 503, 'code', 'persona_unavailable', 'title', 'The persona is not available at the moment.',
               'persona_id', breaker.persona_id,
               'retry_after', case when breaker.state = 'open'
                                   then greatest(1, pg_catalog.ceil(extract(epoch from breaker.retry_at - pg_catalog.clock_timestamp())))::integer
                                   -- How long a turn that finds out will take is not known: as long again as it has taken,
                                   -- and no longer than if it failed now.
                                   else coalesce(
                                       (select least(greatest(5, pg_catalog.ceil(extract(epoch from pg_catalog.clock_timestamp() - t.created_at))),
                                                     p.breaker_seconds)::integer
                                          from public.personas p
                                          left join public.turns t on t.id = breaker.probe_turn_id
                                         where p.id = breaker.persona_id), 5) end);
$$;

create or replace function private.check_breaker(persona public.personas)
    returns boolean
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    breaker public.persona_breakers;
begin
    select b.* into breaker
      from public.persona_breakers b
     where b.persona_id = persona.id
       and b.state <> 'closed';
    if not found or persona.breaker_failures = 0 then
        return false;
    end if;
    if breaker.retry_at > pg_catalog.clock_timestamp() and not private.probe_is_lost(breaker) then
        perform private.raise_refusal(private.breaker_refusal(breaker));
    end if;
    return true;
end;
$$;

create or replace function private.pass_breaker(persona public.personas, turn public.turns)
    returns void
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    breaker public.persona_breakers;
begin
    -- Of all who come when the time is over, in whatever process, one finds the row as it was: that turn finds out. It is
    -- locked before it is judged, so that whoever comes next sees that turn too.
    select b.* into breaker
      from public.persona_breakers b
     where b.persona_id = persona.id
       and b.state <> 'closed'
       for no key update;
    if not found then
        return;
    end if;
    if breaker.retry_at > pg_catalog.clock_timestamp() and not private.probe_is_lost(breaker) then
        perform private.raise_refusal(private.breaker_refusal(breaker));
    end if;
    update public.persona_breakers b
       set state = 'half_open', probe_turn_id = turn.id, retry_at = turn.deadline + interval '30 seconds'
     where b.persona_id = persona.id;
    perform private.record_audit('breaker.half_opened', persona.id, null, null);
end;
$$;
