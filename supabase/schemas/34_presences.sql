-- Presence: which members look at a conversation now, and who of them is typing. It is of no use after a crash, so it is not
-- written to the log of changes (unlogged).

create unlogged table private.presences (
    conversation_id uuid        not null,
    user_id         uuid        not null,
    typing          boolean     not null,
    ends_at         timestamptz not null,
    constraint presences_pkey primary key (conversation_id, user_id)
);
comment on table private.presences is 'A member who has a conversation open, until ends_at unless the member says so again.';
alter table private.presences enable row level security;

create function private.present_members(conversation_id uuid)
    returns jsonb language sql stable set search_path = ''
as $$
    select coalesce(jsonb_agg(jsonb_build_object('user_id', p.user_id, 'typing', p.typing) order by p.user_id), '[]')
      from private.presences p
     where p.conversation_id = present_members.conversation_id
       and p.ends_at > now();
$$;
comment on function private.present_members is 'The members who have a conversation open: [{user_id, typing}].';

create function public.set_presence(conversation_id uuid, present boolean, typing boolean)
    returns jsonb language plpgsql security definer set search_path = ''
as $$
begin
    perform private.enter_conversation_to_read(conversation_id);
    perform private.require_user();
    if present then
        insert into private.presences as p (conversation_id, user_id, typing, ends_at)
        values (set_presence.conversation_id, private.calling_user(), set_presence.typing, now() + interval '30 seconds')
        on conflict on constraint presences_pkey do update
           set typing = excluded.typing, ends_at = excluded.ends_at;
    else
        delete from private.presences p
         where p.conversation_id = set_presence.conversation_id
           and p.user_id = private.calling_user();
    end if;
    return jsonb_build_object('conversation_id', set_presence.conversation_id,
                              'members', private.present_members(set_presence.conversation_id));
end;
$$;
comment on function public.set_presence is 'Says for 30 seconds that the calling member has a conversation open, and whether the member is typing, or that the member has left it: {conversation_id, members}.';

grant execute on function
    public.set_presence
    to switchboard;
