-- Of many who cancel a turn at once, one is the first to want it stopped: the audit has that once.

set lock_timeout = '5s';
set statement_timeout = '60s';

create or replace function public.cancel_turn(turn_id uuid)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    turn public.turns := private.enter_turn(turn_id);
begin
    if turn.status = 'active' then
        -- The session before the turn, as everywhere; and locked before it is judged.
        perform from public.sessions s where s.id = turn.session_id for no key update;
        select t.* into strict turn from public.turns t where t.id = turn.id;
    end if;
    if turn.status = 'active' then
        if turn.cancel_requested_at is null then
            perform private.record_audit('turn.cancel_requested', turn.id, private.calling_actor(), null);
        end if;
        perform private.stop_turn(turn);
    end if;
    return private.turn_state(turn.id) || pg_catalog.jsonb_build_object('turn_id', turn.id);
end;
$$;
