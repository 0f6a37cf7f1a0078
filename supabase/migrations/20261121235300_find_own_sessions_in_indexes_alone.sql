-- Whoever asks under their own token has their own and assigned sessions collected by the policies. These indexes hold what that
-- needs, so that it reads no session; and the sessions of contacts, who are most, are in neither.

set lock_timeout = '5s';
set statement_timeout = '60s';

-- squawk-ignore require-concurrent-index-deletion
drop index public.sessions_user_id_idx;
-- squawk-ignore require-concurrent-index-deletion
drop index public.sessions_assigned_user_id_idx;
-- squawk-ignore require-concurrent-index-creation
create index if not exists sessions_user_id_idx
    on public.sessions (user_id, workspace_id, created_at, id) include (contact_id) where user_id is not null;
-- squawk-ignore require-concurrent-index-creation
create index if not exists sessions_assigned_user_id_idx
    on public.sessions (assigned_user_id, workspace_id, created_at, id) include (conversation_id) where assigned_user_id is not null;
