-- When a session's first message came in, noted once: so that what a contact did can be read in its order, without looking
-- through its messages.

set lock_timeout = '5s';
set statement_timeout = '60s';

alter table public.sessions add column first_message_at timestamptz;
comment on column public.sessions.first_message_at is 'When its first message came in; null: none yet.';
grant select (first_message_at) on public.sessions to contact;

create function private.note_first_message()
    returns trigger
    language plpgsql
    volatile
    set search_path = ''
as $$
begin
    new.first_message_at := new.last_activity_at;
    return new;
end;
$$;
comment on function private.note_first_message() is 'Notes that a session''s first message came in with this change.';

-- What comes in moves last_activity_at; what the persona or a member says does not, and a recovery brings no message.
create trigger sessions_note_first_message
    before update of message_count on public.sessions
    for each row
    when (old.first_message_at is null and new.message_count > old.message_count and new.last_activity_at <> old.last_activity_at)
    execute function private.note_first_message();
create trigger sessions_note_first_message_at_once
    before insert on public.sessions
    for each row
    when (new.first_message_at is null and new.turn_count > 0)
    execute function private.note_first_message();

update public.sessions s
   set first_message_at = (select min(m.created_at) from public.messages m where m.session_id = s.id and m.role in ('contact', 'user'))
 where s.turn_count > 0;

-- Of sessions that are over, in the order of each thing that becomes of one; those that live have no entry here, so a turn
-- has nothing to add. Migrations run in a transaction, in which no index is built concurrently: on a table with many rows,
-- build these by hand first.
-- squawk-ignore require-concurrent-index-creation
create index if not exists sessions_contact_opened_idx on public.sessions (contact_id, created_at, id) where ended_at is not null;
-- squawk-ignore require-concurrent-index-creation
create index if not exists sessions_contact_first_message_idx on public.sessions (contact_id, first_message_at, id) where ended_at is not null;
-- squawk-ignore require-concurrent-index-creation
create index if not exists sessions_contact_ended_idx on public.sessions (contact_id, ended_at, id) where ended_at is not null;
-- squawk-ignore require-concurrent-index-creation
create index if not exists sessions_contact_archived_idx on public.sessions (contact_id, archived_at, id) where archived_at is not null;
-- squawk-ignore require-concurrent-index-creation
create index if not exists sessions_contact_workflow_idx on public.sessions (contact_id) where workflow is not null or request_id is not null;
-- squawk-ignore require-concurrent-index-creation
create index if not exists audit_events_object_created_at_idx on public.audit_events (object_id, created_at, id);
-- The one above does what this did.
-- squawk-ignore require-concurrent-index-deletion
drop index public.audit_events_object_id_idx;
