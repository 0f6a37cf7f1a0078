-- What was written before the key was there is checked in a transaction of its own, which stops nobody who reads or writes.

set lock_timeout = '5s';
set statement_timeout = '60s';

alter table public.conversations validate constraint conversations_workspace_id_fkey;
