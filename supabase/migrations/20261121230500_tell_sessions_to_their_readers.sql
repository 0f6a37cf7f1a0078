-- A contact names the session first linked to it. Whoever may not read that session is not told of it.

set lock_timeout = '5s';
set statement_timeout = '60s';

create or replace function private.describe_contact(contact public.contacts)
    returns jsonb
    language plpgsql
    stable
    set search_path = ''
as $$
begin
    -- By plans that are kept: a page asks it for every contact.
    return pg_catalog.to_jsonb(contact) - '{name_key,last_name_key,merged_into_id}'::text[]
           || pg_catalog.jsonb_build_object(
                  -- Under the policies of whoever reads.
                  'session_id', (select s.id from public.sessions s where s.id = contact.session_id),
                  'identities', coalesce((select pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                                                     'kind', i.kind, 'key', i.key, 'value', i.value, 'evidence', i.evidence,
                                                     'asserted_by', i.asserted_by, 'asserted_at', i.created_at,
                                                     'verified_by', i.verified_by, 'verified_at', i.verified_at) order by i.created_at, i.id)
                                            from public.contact_identities i
                                           where i.contact_id = contact.id), '[]'),
                  'tags', coalesce((select pg_catalog.jsonb_agg(t.name order by t.name)
                                      from public.tags t
                                     where t.contact_id = contact.id), '[]'));
end;
$$;
comment on function private.describe_contact(public.contacts) is
    'A contact as its workspace''s members see it, with identities and tags; of the session first linked only whoever may read it is told.';

-- A contact's token is for one conversation, and the session first linked may be another's: every other column, those to
-- come excepted, which are granted where they are made.
revoke select on public.contacts from contact;
do $$
begin
    execute (select pg_catalog.format('grant select (%s) on public.contacts to contact',
                                      pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' order by a.attnum))
               from pg_catalog.pg_attribute a
              where a.attrelid = 'public.contacts'::regclass
                and a.attnum > 0
                and not a.attisdropped
                and a.attname <> 'session_id');
end;
$$;
