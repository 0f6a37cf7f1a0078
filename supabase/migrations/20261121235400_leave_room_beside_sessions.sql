-- A turn's end changes a session in columns that no index has. Where the row's page has room for the new version, no index is
-- written to: with a tenth of each page left free it mostly has. This holds for pages that are filled from now on.

set lock_timeout = '5s';
set statement_timeout = '60s';

alter table public.sessions set (fillfactor = 90);
