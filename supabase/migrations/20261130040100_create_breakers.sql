-- Generated from supabase/schemas/41_breakers.sql.
set lock_timeout = '5s';
set statement_timeout = '60s';
set check_function_bodies = off;

-- Circuit breakers: a persona that fails repeatedly is not called for a while. Fallbacks: another persona answers meanwhile.

create type public.breaker_state as enum ('closed', 'open', 'half_open');
comment on type public.breaker_state is 'closed -> open (consecutive failures) -> half_open (one probe turn) -> closed (it succeeded) | open (it failed)';

create table public.persona_breakers (
    persona_id    uuid                 not null,
    workspace_id  uuid                 not null,
    state         public.breaker_state not null default 'closed',
    failures      integer              not null default 0,
    opened_at     timestamptz,
    retry_at      timestamptz,
    probe_turn_id uuid,
    refused       bigint               not null default 0,
    constraint persona_breakers_pkey            primary key (persona_id),
    constraint persona_breakers_persona_id_fkey foreign key (workspace_id, persona_id) references public.personas (workspace_id, id) on delete cascade,
    constraint persona_breakers_state           check ((state = 'closed') = (retry_at is null) and (state = 'half_open') = (probe_turn_id is not null))
);
comment on table public.persona_breakers is 'The circuit breaker of a persona, created with its first failure, or with the first failure of a persona that it is the fallback of.';
comment on column public.persona_breakers.failures is 'Consecutive failed turns.';
comment on column public.persona_breakers.opened_at is 'When it was last opened.';
comment on column public.persona_breakers.retry_at is 'open: when a probe may start; half_open: when the probe is given up.';
comment on column public.persona_breakers.probe_turn_id is 'The turn that tests the persona.';
comment on column public.persona_breakers.refused is 'Messages refused since it was last opened.';
alter table public.persona_breakers enable row level security;
create index persona_breakers_workspace_id_idx on public.persona_breakers (workspace_id);

create view public.persona_settings with (security_invoker = true) as
select p.id, p.workspace_id, p.kind, p.name, private.persona_config(p.id) as config, p.session_policy, p.turn_policy,
       p.history_limit, p.time_limit_seconds, p.breaker_failures, p.breaker_seconds, p.fallback_persona_id, p.collect_seconds,
       p.memory_model, p.recall_limit, p.remember_turns, p.enabled, p.secret_id is not null as has_secret,
       p.callback_secret_id is not null as has_callback_secret,
       jsonb_build_object(
           'state',     case when p.breaker_failures > 0 then coalesce(b.state, 'closed') else 'closed' end,
           'failures',  coalesce(b.failures, 0),
           'refused',   coalesce(b.refused, 0),
           'opened_at', b.opened_at,
           'retry_at',  case when p.breaker_failures > 0 then b.retry_at end) as breaker,
       p.created_at, p.picture is not null as has_picture
  from public.personas p
  left join public.persona_breakers b on b.persona_id = p.id;
comment on view public.persona_settings is 'The personas of a workspace as its members see them: with the state of their circuit breakers; of the secrets, only whether there are any; config is null for agents.';

create function private.breaker_refusal(breaker public.persona_breakers)
    returns jsonb language sql stable set search_path = ''
as $$
    select jsonb_build_object(
               'status', 503, 'code', 'persona_unavailable',
               'persona_id', breaker.persona_id,
               'retry_after', case when breaker.state = 'open'
                                   then greatest(1, ceil(extract(epoch from breaker.retry_at - clock_timestamp())))::integer
                                   -- The remaining time of the probe is unknown: estimated as its age, at most breaker_seconds.
                                   else coalesce(
                                       (select least(greatest(5, ceil(extract(epoch from clock_timestamp() - t.created_at))),
                                                     p.breaker_seconds)::integer
                                          from public.personas p
                                          left join public.turns t on t.id = breaker.probe_turn_id
                                         where p.id = breaker.persona_id), 5) end);
$$;
comment on function private.breaker_refusal is 'The refusal by an open breaker.';

create function private.check_breaker(persona public.personas)
    returns boolean language plpgsql stable set search_path = ''
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
    if persona.fallback_persona_id is null and breaker.retry_at > clock_timestamp() and not private.probe_is_lost(breaker) then
        perform private.raise_refusal(private.breaker_refusal(breaker));
    end if;
    return true;
end;
$$;
comment on function private.check_breaker is 'Refuses early, without a lock, if the breaker is open and the persona has no fallback; whether the turn has to pass the breaker.';

create function private.start_probe(persona public.personas, turn public.turns)
    returns boolean language plpgsql set search_path = ''
as $$
declare
    breaker public.persona_breakers;
begin
    -- The lock lets one turn of all concurrent ones become the probe; the next one sees it.
    select b.* into breaker
      from public.persona_breakers b
     where b.persona_id = persona.id
       and b.state <> 'closed'
       for no key update;
    if not found or persona.breaker_failures = 0 then
        return true;
    end if;
    if breaker.retry_at > clock_timestamp() and not private.probe_is_lost(breaker) then
        return false;
    end if;
    update public.persona_breakers b
       set state = 'half_open', probe_turn_id = turn.id, retry_at = turn.deadline + private.turn_lease()
     where b.persona_id = persona.id;
    perform private.record_audit('breaker.half_opened', persona.id, null, null);
    return true;
end;
$$;
comment on function private.start_probe is 'Whether the breaker lets a turn through: it is closed, or was open for long enough and the turn becomes its probe.';

create function private.lock_breakers(persona public.personas, answering_id uuid default null)
    returns void language plpgsql set search_path = ''
as $$
begin
    -- In one order: each of two personas may be the fallback of the other. A breaker that another turn creates after this lock
    -- would be locked out of that order, so all are created here.
    if coalesce(persona.fallback_persona_id, answering_id) is not null then
        insert into public.persona_breakers (persona_id, workspace_id)
        select p.id, p.workspace_id
          from public.personas p
         where p.id in (persona.id, persona.fallback_persona_id, answering_id)
         order by p.id
        on conflict on constraint persona_breakers_pkey do nothing;
    end if;
    perform
       from public.persona_breakers b
      where b.persona_id in (persona.id, persona.fallback_persona_id, answering_id)
      order by b.persona_id
        for no key update;
end;
$$;
comment on function private.lock_breakers is 'Locks the breakers of a persona and its fallback, and of the fallback that answers a turn that ends; creates them if there are two.';

create function private.fallback_of(persona public.personas)
    returns public.personas language plpgsql stable set search_path = ''
as $$
declare
    fallback public.personas;
begin
    select p.* into fallback from public.personas p where p.id = persona.fallback_persona_id;
    if not found then
        return null;
    end if;
    fallback.time_limit_seconds  := least(fallback.time_limit_seconds, persona.time_limit_seconds);
    fallback.collect_seconds     := persona.collect_seconds;
    fallback.recall_limit        := persona.recall_limit;
    fallback.fallback_persona_id := null;
    return fallback;
end;
$$;
comment on function private.fallback_of is 'The fallback of a persona, with the persona''s own time limit (if shorter), collect_seconds and recall_limit, and without its own fallback; null if there is none.';

create function private.assign_fallback(persona public.personas, turn public.turns)
    returns public.personas language plpgsql set search_path = ''
as $$
declare
    fallback constant public.personas := private.fallback_of(persona);
begin
    if fallback.enabled is not true or not private.start_probe(fallback, turn) then
        return null;
    end if;
    update public.turns t set fallback_persona_id = fallback.id where t.id = turn.id;
    return fallback;
end;
$$;
comment on function private.assign_fallback is 'Lets the persona''s fallback answer a turn; null if there is none, or if it is disabled or its breaker open.';

create function private.pass_breaker(persona public.personas, turn public.turns)
    returns public.personas language plpgsql set search_path = ''
as $$
declare
    fallback public.personas;
begin
    perform private.lock_breakers(persona);
    if private.start_probe(persona, turn) then
        return persona;
    end if;
    fallback := private.assign_fallback(persona, turn);
    if fallback.id is null then
        perform private.raise_refusal(private.breaker_refusal(b)) from public.persona_breakers b where b.persona_id = persona.id;
    end if;
    return fallback;
end;
$$;
comment on function private.pass_breaker is 'Who answers a new turn of a persona whose breaker was not closed: the persona, if the turn becomes the probe, or its fallback; refuses if neither may.';

create function public.start_fallback(turn_id uuid, error_code text, error_detail text)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    turn         public.turns;
    persona      public.personas;
    fallback     public.personas;
    seconds_left integer;
begin
    perform private.enter();
    select t.* into turn from public.turns t where t.id = start_fallback.turn_id for no key update;
    if not found then
        raise sqlstate 'PT404' using message = 'turn_not_found';
    end if;
    seconds_left := floor(extract(epoch from turn.deadline - clock_timestamp()));
    if turn.status = 'active' and turn.cancel_requested_at is null and seconds_left > 0 then
        if turn.fallback_persona_id is not null then
            -- A repeat of this call.
            select p.* into fallback from public.personas p where p.id = turn.fallback_persona_id;
        else
            select p.* into strict persona
              from public.sessions s
              join public.personas p on p.id = s.persona_id
             where s.id = turn.session_id;
            perform private.lock_breakers(persona);
            fallback := private.assign_fallback(persona, turn);
            if fallback.id is not null then
                perform private.record_result(turn, persona, 'failed', error_code);
                insert into public.turn_errors (turn_id, persona_id, workspace_id, conversation_id, code, detail)
                values (turn.id, persona.id, turn.workspace_id, turn.conversation_id, error_code, left(error_detail, 2000));
                perform private.record_audit('turn.fell_back', turn.id, null, error_code);
            end if;
        end if;
    end if;
    return jsonb_build_object('persona', case when fallback.id is not null then jsonb_build_object(
        'id', fallback.id, 'kind', fallback.kind, 'config', fallback.config,
        'time_limit_seconds', least(fallback.time_limit_seconds, seconds_left),
        'secret', private.persona_secret(fallback.id)) end);
end;
$$;
comment on function public.start_fallback is 'Records the failure of a turn''s persona before its first text, and lets its fallback answer in the time that is left: {persona}, null if no fallback may, or if the turn is over or to be cancelled. Idempotent.';

create function private.count_breaker_refusal(refusal jsonb)
    returns void language sql set search_path = ''
as $$
    update public.persona_breakers b
       set refused = b.refused + 1
     where b.persona_id = (refusal ->> 'persona_id')::uuid
       and refusal ->> 'code' = 'persona_unavailable';
$$;
comment on function private.count_breaker_refusal is 'Counts a refusal by a breaker after its writes were undone.';

create function private.record_result(turn public.turns, persona public.personas, status public.turn_status, error_code text)
    returns void language plpgsql set search_path = ''
as $$
declare
    moment constant timestamptz := clock_timestamp();
    -- A refusal of one message or its content is a success: otherwise one sender's texts could open the breaker for all.
    well   constant boolean     := status = 'completed'
                                or coalesce(error_code in ('persona_declined', 'persona_input_refused'), false);
    -- Failures caused by the persona, not by the caller, the process or the database.
    failed constant boolean     := not well and coalesce(error_code like 'persona\_%' or error_code = 'internal_error', false);
    before public.persona_breakers;
begin
    select b.* into before from public.persona_breakers b where b.persona_id = persona.id;
    -- A success does not change a closed breaker without failures.
    if not failed and (not found or (before.state = 'closed' and before.failures = 0)) then
        return;
    end if;
    if failed then
        insert into public.persona_breakers (persona_id, workspace_id) values (persona.id, persona.workspace_id)
        on conflict on constraint persona_breakers_pkey do nothing;
    end if;
    select b.* into before from public.persona_breakers b where b.persona_id = persona.id for no key update;
    -- Turns started before it was opened do not count.
    if turn.created_at < before.opened_at then
        return;
    end if;

    if before.state = 'closed' then
        before.failures := case when failed then before.failures + 1 when well then 0 else before.failures end;
        if persona.breaker_failures > 0 and before.failures >= persona.breaker_failures then
            update public.persona_breakers b
               set state = 'open', failures = before.failures, opened_at = moment, refused = 0,
                   retry_at = moment + make_interval(secs => persona.breaker_seconds)
             where b.persona_id = persona.id;
            insert into public.audit_events (workspace_id, verb, object_id, code)
            values (persona.workspace_id, 'breaker.opened', persona.id, error_code);
        else
            update public.persona_breakers b set failures = before.failures where b.persona_id = persona.id;
        end if;
    elsif before.probe_turn_id = turn.id then
        if well then
            update public.persona_breakers b
               set state = 'closed', failures = 0, retry_at = null, probe_turn_id = null
             where b.persona_id = persona.id;
            insert into public.audit_events (workspace_id, verb, object_id)
            values (persona.workspace_id, 'breaker.closed', persona.id);
        else
            -- The probe failed: wait again. If it was cancelled or lost, the next turn is the probe.
            update public.persona_breakers b
               set state = 'open', probe_turn_id = null, failures = b.failures + failed::integer,
                   retry_at = case when failed then moment + make_interval(secs => persona.breaker_seconds) else moment end
             where b.persona_id = persona.id;
        end if;
    end if;
end;
$$;
comment on function private.record_result is 'Records the result of a turn in its persona''s breaker: opens it after enough consecutive failures, closes it after a successful probe.';

create function private.probe_is_lost(breaker public.persona_breakers)
    returns boolean language plpgsql stable set search_path = ''
as $$
begin
    -- If the database was away instead of the process, two turns probe, and the result of the first is ignored.
    return breaker.state = 'half_open'
       and not exists (select
                         from public.turns t
                        where t.id = breaker.probe_turn_id
                          and t.status = 'active'
                          and not private.is_silent(t));
end;
$$;
comment on function private.probe_is_lost is 'Whether no process answers the probe any more.';

grant execute on function
    private.breaker_refusal, private.check_breaker, private.start_probe, private.lock_breakers, private.fallback_of,
    private.assign_fallback, private.pass_breaker, public.start_fallback, private.count_breaker_refusal, private.record_result, private.probe_is_lost
    to switchboard;
