-- Generated from supabase/schemas/33_contact_details.sql.
set lock_timeout = '5s';
set statement_timeout = '60s';
set check_function_bodies = off;

-- Contacts as members read them: details, activity, and a view for each filter of a list that needs an index of its own.

create view public.contact_details with (security_invoker = true) as
select c.id, c.workspace_id, c.kind, coalesce(c.title, nullif(concat_ws(' ', c.first_name, c.last_name), '')) as name,
       c.first_name, c.last_name, c.title,
       (select i.value
          from public.contact_identities i
         where i.contact_id = c.id
           and i.kind = 'email'
         order by i.evidence desc, i.created_at, i.id
         limit 1) as email,
       c.source, c.attributes,
       (select s.id from public.sessions s where s.id = c.session_id) as session_id,
       c.created_at,
       coalesce((select jsonb_agg(jsonb_build_object(
                            'kind', i.kind, 'key', i.key, 'value', i.value, 'evidence', i.evidence,
                            'asserted_by', i.asserted_by, 'asserted_at', i.created_at,
                            'verified_by', i.verified_by, 'verified_at', i.verified_at) order by i.created_at, i.id)
                   from public.contact_identities i
                  where i.contact_id = c.id), '[]') as identities,
       array(select t.name from public.tags t where t.contact_id = c.id order by t.name) as tags,
       coalesce((select jsonb_agg(jsonb_build_object(
                            'contact_id', p.contact_id, 'first_name', m.first_name, 'last_name', m.last_name,
                            'role', p.role, 'joined_at', p.joined_at, 'left_at', p.left_at) order by p.joined_at, p.contact_id)
                   from public.group_participants p
                   join public.contacts m on m.id = p.contact_id and m.merged_into_id is null
                  where p.group_id = c.id), '[]') as participants,
       coalesce((select jsonb_agg(jsonb_build_object(
                            'contact_id', p.group_id, 'title', g.title,
                            'role', p.role, 'joined_at', p.joined_at, 'left_at', p.left_at) order by p.joined_at, p.group_id)
                   from public.group_participants p
                   join public.contacts g on g.id = p.group_id and g.merged_into_id is null
                  where p.contact_id = c.id), '[]') as groups,
       coalesce((select jsonb_agg(jsonb_build_object(
                            'contact_id', m.contact_id, 'automatic', m.automatic, 'merged_by', m.merged_by,
                            'merged_at', m.created_at) order by m.created_at, m.id)
                   from public.contact_merges m
                  where m.into_id = c.id
                    and m.undone_at is null), '[]') as merged,
       array(select distinct v.space_id
               from public.conversations v
              where v.contact_id = c.id
                and v.space_id is not null) as space_ids,
       (select max(s.last_activity_at) from public.sessions s where s.contact_id = c.id) as last_activity_at,
       c.name_key, c.last_name_key, c.merged_into_id,
       case when c.merged_into_id is not null then private.merge_target(c.id) else c.id end as standing_id
  from public.contacts c;
comment on view public.contact_details is 'Contacts with identities, tags, participants or groups, and the contacts merged into each. Select the columns that you need: each costs a look-up.';
comment on column public.contact_details.name is 'A group''s title, or a person''s full name; null without one.';
comment on column public.contact_details.email is 'The first verified email, or else the first email; null without one.';
comment on column public.contact_details.session_id is 'The first linked session, where the reader may see it.';
comment on column public.contact_details.space_ids is 'The spaces of its conversations that the reader may see.';
comment on column public.contact_details.last_activity_at is 'In the sessions that the reader may see; null without one.';
comment on column public.contact_details.standing_id is 'The contact that stands for one that was merged; else its own id.';

create view public.contact_activity with (security_invoker = true) as
select c.*, f.message_count, f.sessions,
       coalesce((select jsonb_agg(jsonb_build_object(
                            'session_id', s.id, 'conversation_id', s.conversation_id, 'persona_id', s.persona_id, 'status', s.status,
                            'proof', (select v.proof from public.conversations v where v.id = s.conversation_id),
                            'message_count', s.message_count, 'created_at', s.created_at,
                            'last_activity_at', s.last_activity_at) order by s.created_at desc, s.id desc)
                   from (select s.id, s.conversation_id, s.persona_id, s.status, s.message_count, s.created_at, s.last_activity_at
                           from public.sessions s
                          where s.contact_id = c.id
                          order by s.created_at desc, s.id desc
                          limit 20) s), '[]') as latest_sessions
  from public.contact_details c
 cross join lateral (select coalesce(sum(n.messages), 0)::bigint as message_count,
                            coalesce(jsonb_object_agg(n.status, n.sessions), '{}') as sessions
                       from (select s.status, count(*) as sessions, sum(s.message_count) as messages
                               from public.sessions s
                              where s.contact_id = c.id
                              group by s.status) n) f;
comment on view public.contact_activity is 'Contacts with the activity in those of their sessions that the reader may see: numbers by status, and the latest 20.';

-- A filter on an aggregated column of contact_details reads contact after contact. These views join the table whose index finds
-- the contacts, and Postgres chooses the side from which it reads.

create view public.contacts_by_tag with (security_invoker = true) as
select c.*, t.name as tag
  from public.contact_details c
  join public.tags t on t.contact_id = c.id and t.workspace_id = c.workspace_id;
comment on view public.contacts_by_tag is 'Contact details, once for each tag of a contact.';

create view public.contacts_by_space with (security_invoker = true) as
select c.*, v.space_id
  from public.contact_details c
  join public.conversations v on v.contact_id = c.id
 where v.space_id is not null
   and not exists (select
                     from public.conversations o
                    where o.contact_id = v.contact_id
                      and o.space_id = v.space_id
                      and o.id < v.id);
comment on view public.contacts_by_space is 'Contact details, once for each space in which a contact has a conversation.';

create view public.contacts_by_activity with (security_invoker = true) as
select c.*, s.last_activity_at as active_at
  from public.contact_details c
  join public.sessions s on s.contact_id = c.id
 where not exists (select
                     from public.sessions o
                    where o.contact_id = s.contact_id
                      and (o.last_activity_at, o.id) > (s.last_activity_at, s.id));
comment on view public.contacts_by_activity is 'Contact details of the contacts with a session.';
comment on column public.contacts_by_activity.active_at is 'The value of last_activity_at, from the latest session.';

create view public.contacts_without_session with (security_invoker = true) as
select c.*
  from public.contact_details c
 where not exists (select from public.sessions s where s.contact_id = c.id);
comment on view public.contacts_without_session is 'Contact details of the contacts without a session.';
