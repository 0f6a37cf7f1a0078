-- Contacts' ids are random, and a page of whatever there is names contacts and conversations of all ages: each is a descent
-- from an index's root, one level more in a large table. A hash finds a row's page in one step, however many rows there are, so
-- that pages, and the checks of foreign keys in a turn, touch as much in a large table as in a small one. Sessions have none:
-- they are asked for while they are new, and their newest ids lie together at an index's edge.

set lock_timeout = '5s';
set statement_timeout = '60s';

-- Migrations run in a transaction, in which no index is built concurrently. On a table with many rows, build these by hand
-- first: "if not exists" then leaves them alone.
-- squawk-ignore require-concurrent-index-creation
create index if not exists contacts_id_idx on public.contacts using hash (id);
-- squawk-ignore require-concurrent-index-creation
create index if not exists conversations_id_idx on public.conversations using hash (id);
-- squawk-ignore require-concurrent-index-creation
create index if not exists contact_identities_contact_idx on public.contact_identities using hash (contact_id);
-- The one above does what it did.
-- squawk-ignore require-concurrent-index-deletion
drop index public.contact_identities_contact_id_idx;
