-- A tag's contacts and sessions are read in their order, as many as are few, and from the index alone.

set lock_timeout = '5s';
set statement_timeout = '60s';

-- squawk-ignore require-concurrent-index-deletion
drop index public.tags_name_idx;
-- squawk-ignore require-concurrent-index-creation
create index if not exists tags_name_idx on public.tags (workspace_id, name, contact_id, session_id);
