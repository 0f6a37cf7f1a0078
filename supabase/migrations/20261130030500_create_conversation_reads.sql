-- Generated from supabase/schemas/35_conversation_reads.sql.
set lock_timeout = '5s';
set statement_timeout = '60s';
set check_function_bodies = off;

-- Reads: how far each member has read a conversation.

create table public.conversation_reads (
    workspace_id    uuid        not null,
    conversation_id uuid        not null,
    user_id         uuid        not null,
    read_at         timestamptz not null,
    constraint conversation_reads_pkey                 primary key (user_id, conversation_id),
    constraint conversation_reads_conversation_id_fkey foreign key (workspace_id, conversation_id) references public.conversations (workspace_id, id) on delete cascade,
    constraint conversation_reads_user_id_fkey         foreign key (workspace_id, user_id) references public.workspace_members (workspace_id, user_id) on delete cascade
);
comment on table public.conversation_reads is 'Up to when a member has read a conversation.';
comment on column public.conversation_reads.read_at is 'The time of the last message that was read.';
alter table public.conversation_reads enable row level security;
create index conversation_reads_conversation_id_idx on public.conversation_reads (conversation_id);

create function private.unread_window()
    returns interval language plpgsql immutable parallel safe set search_path = ''
as $$
begin
    return interval '30 days';
end;
$$;
comment on function private.unread_window is 'How long a message is unread at most: a list of unread sessions reads no older ones.';

create function private.reading_member()
    returns uuid language plpgsql stable set search_path = ''
as $$
begin
    return case when not private.claims() ? 'key_hash' then (select auth.uid()) end;
end;
$$;
comment on function private.reading_member is 'The signed-in user whose reads count; null for API keys, which mark nothing as read, and for operators.';

create function private.enter_conversation_to_read(conversation_id uuid)
    returns void language plpgsql security definer set search_path = ''
as $$
declare
    caller    constant uuid := private.calling_user();
    workspace uuid;
begin
    -- As in the policy on conversations, of members.
    select c.workspace_id into workspace
      from public.conversations c
      join private.memberships(caller) m on m.workspace_id = c.workspace_id
     where c.id = enter_conversation_to_read.conversation_id
       and not coalesce(private.claims() -> 'scope' ? 'management', false)
       and (m.role in ('owner', 'admin')
            or c.user_id = caller
            or exists (select
                         from public.sessions s
                        where s.conversation_id = c.id
                          and caller in (s.assigned_user_id, s.opened_by_key_id)));
    if not found then
        raise sqlstate 'PT404' using message = 'conversation_not_found';
    end if;
    perform set_config('switchboard.workspace_id', workspace::text, true);
end;
$$;
comment on function private.enter_conversation_to_read is 'Enters the workspace of a conversation that the caller reads as a member; 404 for other callers.';

create function public.mark_conversation_read(conversation_id uuid, message_id uuid default null)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    until timestamptz;
    made  public.conversation_reads;
begin
    perform private.enter_conversation_to_read(conversation_id);
    perform private.require_user();
    if message_id is null then
        -- Not now: a message that is being stored has an earlier time.
        select max(m.created_at) into until from public.messages m where m.conversation_id = mark_conversation_read.conversation_id;
    else
        select m.created_at into until
          from public.messages m
         where m.id = message_id
           and m.conversation_id = mark_conversation_read.conversation_id;
        if not found then
            raise sqlstate 'PT404' using message = 'message_not_found';
        end if;
    end if;
    insert into public.conversation_reads as r (workspace_id, conversation_id, user_id, read_at)
    values (private.entered_workspace(), mark_conversation_read.conversation_id, private.calling_user(), coalesce(until, now()))
    on conflict on constraint conversation_reads_pkey do update
       set read_at = greatest(r.read_at, excluded.read_at)
    returning * into made;
    return jsonb_build_object('conversation_id', made.conversation_id, 'read_at', made.read_at);
end;
$$;
comment on function public.mark_conversation_read is 'Marks a conversation as read by the calling member, up to a message or to the newest, and never less far than before: {conversation_id, read_at}.';

grant execute on function
    private.unread_window, private.reading_member
    to authenticated, service_role;

grant execute on function
    private.enter_conversation_to_read, public.mark_conversation_read
    to switchboard;
