-- Conversations go with their contact, but those of users have none: nothing took them along with their workspace, so a
-- workspace where a user had talked to a persona could not be deleted.

set lock_timeout = '5s';
set statement_timeout = '60s';

alter table public.conversations
    add constraint conversations_workspace_id_fkey foreign key (workspace_id) references public.workspaces (id) on delete cascade not valid;
