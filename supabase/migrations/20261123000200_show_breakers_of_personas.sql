-- Whoever sees a persona sees how it is doing: its breaker was a table that only those who knew of it asked.

set lock_timeout = '5s';
set statement_timeout = '60s';

create or replace function private.describe_persona(persona public.personas)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    breaker public.persona_breakers;
begin
    -- Under the policies of whoever reads, like the persona.
    select b.* into breaker from public.persona_breakers b where b.persona_id = persona.id;
    if not found or persona.breaker_failures = 0 then
        breaker.state    := 'closed';
        breaker.retry_at := null;
    end if;
    return pg_catalog.to_jsonb(persona) - array['secret_id', 'callback_secret_id']
           || pg_catalog.jsonb_build_object(
                  'has_secret', persona.secret_id is not null,
                  'has_callback_secret', persona.callback_secret_id is not null,
                  'breaker', pg_catalog.jsonb_build_object(
                      'state', breaker.state, 'failures', coalesce(breaker.failures, 0), 'refused', coalesce(breaker.refused, 0),
                      'opened_at', breaker.opened_at, 'retry_at', breaker.retry_at));
end;
$$;
comment on function private.describe_persona(public.personas) is
    'A persona as its workspace''s members see it: how its breaker stands, and of its secrets only whether there are any.';
