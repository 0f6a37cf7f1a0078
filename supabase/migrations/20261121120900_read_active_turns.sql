-- After a reload a page knows its chat and not its turn: read_active_turn finds the one that is still being answered.

set lock_timeout = '5s';
set statement_timeout = '60s';

create function private.persona_of_space(space_id uuid)
    returns uuid
    language sql
    stable
    security definer
    set search_path = ''
as $$
    select s.persona_id from public.spaces s where s.id = persona_of_space.space_id and s.enabled;
$$;
comment on function private.persona_of_space(uuid) is 'The persona that answers in a space; null where there is no such space or it is closed.';
grant execute on function private.persona_of_space(uuid) to authenticated;

create function public.read_active_turn(space_id uuid, thread_key text)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
declare
    claims constant jsonb := private.claims();
    asked  uuid;
    active uuid;
begin
    if claims ->> 'role' = 'contact' then
        -- A contact's token is for one conversation, whatever the page calls its chat.
        asked := (claims ->> 'conversation_id')::uuid;
    else
        select c.id into asked
          from public.conversations c
         where c.user_id = (claims ->> 'sub')::uuid
           and c.persona_id = private.persona_of_space(read_active_turn.space_id)
           and c.channel = 'web'
           and c.thread_key = read_active_turn.thread_key
         order by c.created_at desc
         limit 1;
    end if;
    select t.id into active
      from public.turns t
     where t.conversation_id = asked
       and t.status = 'active'
     order by t.created_at desc
     limit 1;
    return pg_catalog.jsonb_build_object('turn', case when active is not null then public.read_turn(active, 0) end);
end;
$$;
comment on function public.read_active_turn(uuid, text) is
    'The turn under way in the caller''s conversation, as read_turn tells it: {turn}, null where none is. Under the caller''s own policies.';
grant execute on function public.read_active_turn(uuid, text) to contact, authenticated;
