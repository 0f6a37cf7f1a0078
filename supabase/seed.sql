-- A demo workspace: a chat space and a landing page, answered by the built-in demo persona at reading speed, and a space
-- where it answers at once, for replays. Safe to run again.

-- Its limits let a replay through, which speaks for a few contacts from one address.
insert into public.workspaces (id, name, messages_per_minute_by_contact, messages_per_minute_by_user,
                               messages_per_minute_by_address, messages_per_minute_by_space)
values ('00000000-0000-7000-8000-000000000001', 'Demo', 100000, 100000, 1000000, 1000000)
on conflict do nothing;

insert into public.personas (id, workspace_id, kind, name, config)
values ('00000000-0000-7000-8000-000000000002', '00000000-0000-7000-8000-000000000001', 'demo', 'Demo', '{"delay_ms": 30}'),
       ('00000000-0000-7000-8000-000000000005', '00000000-0000-7000-8000-000000000001', 'demo', 'Demo at once', '{"delay_ms": 0}')
on conflict do nothing;

insert into public.spaces (id, workspace_id, kind, name, persona_id, allowed_origins)
values ('00000000-0000-7000-8000-000000000003', '00000000-0000-7000-8000-000000000001', 'embed', 'Demo chat',
        '00000000-0000-7000-8000-000000000002', '{*}'),
       ('00000000-0000-7000-8000-000000000004', '00000000-0000-7000-8000-000000000001', 'landing', 'Demo landing page',
        '00000000-0000-7000-8000-000000000002', '{*}'),
       ('00000000-0000-7000-8000-000000000006', '00000000-0000-7000-8000-000000000001', 'embed', 'Replay',
        '00000000-0000-7000-8000-000000000005', '{}')
on conflict do nothing;
