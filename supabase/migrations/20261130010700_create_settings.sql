-- Generated from supabase/schemas/17_settings.sql.
set lock_timeout = '5s';
set statement_timeout = '60s';
set check_function_bodies = off;

-- Settings: how members create and change workspaces, spaces, personas, channels, session templates and event subscriptions.

create function private.apply_settings(kind text, object_id uuid, changes jsonb)
    returns boolean language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.workspace_of(kind, object_id);
    named     constant uuid := coalesce(changes ->> 'persona_id', changes ->> 'fallback_persona_id')::uuid;
begin
    if named is not null and not exists (select from public.personas p where p.id = named and p.workspace_id = workspace) then
        raise sqlstate 'PT404' using message = 'persona_not_found';
    end if;
    -- Only the columns that are listed can be changed. The private networks that a workspace may call are not among them:
    -- they are for operators (set_allowed_networks).
    case kind
        when 'workspace' then
            update public.workspaces w
               set (name, archive_after_days, archive_statuses, archive_retention, session_timeout_hours, messages_per_minute_by_contact,
                    messages_per_minute_by_user, messages_per_minute_by_space, messages_per_minute_by_address)
                 = (select n.name, n.archive_after_days, n.archive_statuses, n.archive_retention, n.session_timeout_hours,
                           n.messages_per_minute_by_contact, n.messages_per_minute_by_user, n.messages_per_minute_by_space,
                           n.messages_per_minute_by_address
                      from jsonb_populate_record(w, changes) n)
             where w.id = object_id
               and jsonb_populate_record(w, changes) is distinct from w;
        when 'space' then
            update public.spaces s
               set (name, persona_id, allowed_origins, identity, arrivals_per_minute, arrivals_per_minute_by_address, enabled,
                    look)
                 = (select n.name, n.persona_id, n.allowed_origins, n.identity, n.arrivals_per_minute,
                           n.arrivals_per_minute_by_address, n.enabled, n.look
                      from jsonb_populate_record(s, changes) n)
             where s.id = object_id
               and jsonb_populate_record(s, changes) is distinct from s;
        when 'persona' then
            begin
                update public.personas p
                   set (name, config, session_policy, history_limit, time_limit_seconds, enabled, turn_policy, breaker_failures,
                        breaker_seconds, picture, fallback_persona_id, collect_seconds, memory_model, recall_limit, remember_turns)
                     = (select n.name, n.config, n.session_policy, n.history_limit, n.time_limit_seconds, n.enabled, n.turn_policy,
                               n.breaker_failures, n.breaker_seconds, n.picture, n.fallback_persona_id, n.collect_seconds,
                               n.memory_model, n.recall_limit, n.remember_turns
                          from jsonb_populate_record(p, changes) n)
                 where p.id = object_id
                   and jsonb_populate_record(p, changes) is distinct from p;
            exception when check_violation then
                if named = object_id then
                    raise sqlstate 'PT422' using message = 'invalid_body', detail = 'own_fallback';
                end if;
                raise sqlstate 'PT422' using message = 'invalid_body', detail = 'collecting_per_message';
            end;
        when 'channel' then
            begin
                update public.channels c
                   set (name, persona_id, external_id, config, enabled)
                     = (select n.name, n.persona_id, n.external_id, n.config, n.enabled
                          from jsonb_populate_record(c, changes) n)
                 where c.id = object_id
                   and jsonb_populate_record(c, changes) is distinct from c;
            exception when unique_violation then
                raise sqlstate 'PT409' using message = 'external_id_taken';
            end;
        when 'event_subscription' then
            update public.event_subscriptions s
               set (url, event_types, enabled, disabled_at, disabled_reason, failing_since)
                 = (select n.url, n.event_types, n.enabled, case when not n.enabled then coalesce(s.disabled_at, now()) end,
                           case when not n.enabled then coalesce(s.disabled_reason, 'member') end,
                           case when s.enabled then s.failing_since end
                      from jsonb_populate_record(s, changes) n)
             where s.id = object_id
               and jsonb_populate_record(s, changes) is distinct from s;
        when 'template' then
            begin
                update public.session_templates t
                   set (name, persona_id, workflow, workflow_step, workflow_state, first_messages, metadata)
                     = (select n.name, n.persona_id, n.workflow, n.workflow_step, n.workflow_state, n.first_messages, n.metadata
                          from jsonb_populate_record(t, changes) n)
                 where t.id = object_id
                   and jsonb_populate_record(t, changes) is distinct from t;
            exception
                when unique_violation then
                    raise sqlstate 'PT409' using message = 'name_taken';
                when check_violation then
                    raise sqlstate 'PT422' using message = 'invalid_body', detail = 'first_step_without_workflow';
            end;
            if changes ?| '{workflow,workflow_step}'
               and exists (select
                             from public.session_templates t
                            where t.id = object_id
                              and t.workflow is not null
                              and not exists (select
                                                from public.workflow_transitions w
                                               where coalesce(w.workspace_id, t.workspace_id) = t.workspace_id
                                                 and w.workflow = t.workflow
                                                 and w.from_step is null
                                                 and w.to_step = t.workflow_step)) then
                raise sqlstate 'PT409' using message = 'step_not_allowed', detail = 'not_a_first_step';
            end if;
    end case;
    return found;
end;
$$;
comment on function private.apply_settings is 'Writes the given settings of an object; whether one of them changed.';

create function private.settings_of(kind text, object_id uuid)
    returns jsonb language plpgsql stable set search_path = ''
as $$
begin
    return case kind
        when 'workspace' then (select to_jsonb(w) from public.workspace_settings w where w.id = object_id)
        when 'space'     then (select to_jsonb(s) from public.space_settings s where s.id = object_id)
        when 'persona'   then (select to_jsonb(p) from public.persona_settings p where p.id = object_id)
        when 'channel'   then (select to_jsonb(c) from public.channel_settings c where c.id = object_id)
        when 'template'  then (select to_jsonb(t) from public.session_templates t where t.id = object_id)
        when 'event_subscription' then (select to_jsonb(s) from public.event_subscription_settings s where s.id = object_id)
    end;
end;
$$;
comment on function private.settings_of is 'An object as lists show it; null if there is none.';

create function public.create_in_workspace(kind text, workspace_id uuid, settings jsonb)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_to_manage('workspace', workspace_id, 'admin');
    object_id constant uuid := coalesce((settings ->> 'id')::uuid, private.uuid7());
begin
    case kind
        when 'space' then
            insert into public.spaces (id, workspace_id, kind, name, persona_id)
            values (object_id, workspace, (settings ->> 'kind')::public.space_kind, settings ->> 'name',
                    (settings ->> 'persona_id')::uuid)
            on conflict (id) do nothing;
        when 'persona' then
            insert into public.personas (id, workspace_id, kind, name)
            values (object_id, workspace, settings ->> 'kind', settings ->> 'name')
            on conflict (id) do nothing;
        when 'channel' then
            insert into public.channels (id, workspace_id, kind, name)
            values (object_id, workspace, (settings ->> 'kind')::public.channel_kind, settings ->> 'name')
            on conflict (id) do nothing;
        when 'event_subscription' then
            -- Each message is sent to each of them.
            if (select count(*) from public.event_subscriptions s where s.workspace_id = workspace and s.id <> object_id) >= 20 then
                raise sqlstate 'PT409' using message = 'too_many_event_subscriptions';
            end if;
            insert into public.event_subscriptions (id, workspace_id, url, event_types)
            values (object_id, workspace, settings ->> 'url', array(select jsonb_array_elements_text(settings -> 'event_types')))
            on conflict (id) do nothing;
        when 'template' then
            insert into public.session_templates (id, workspace_id, name)
            values (object_id, workspace, settings ->> 'name')
            on conflict do nothing;
    end case;
    if found then
        perform private.apply_settings(kind, object_id, settings);
        perform private.record_change(workspace, kind || '.created', object_id);
    elsif private.workspace_of(kind, object_id) is distinct from workspace then
        -- Without an object of this id, another template has the name.
        raise sqlstate 'PT409' using
            message = case when private.workspace_of(kind, object_id) is null then 'name_taken' else 'id_taken' end;
    end if;
    return private.settings_of(kind, object_id);
end;
$$;
comment on function public.create_in_workspace is 'Creates a space, persona, channel, template or event subscription; a repeated id returns the existing one. For owners and admins.';

create function public.change_settings(kind text, object_id uuid, changes jsonb)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid    := private.enter_to_manage(kind, object_id, 'admin');
    changed   constant boolean := private.apply_settings(kind, object_id, changes);
    settings  jsonb;
begin
    if changed then
        perform private.record_change(workspace, kind || '.changed', object_id);
        if kind = 'persona' and changes ?| '{config,breaker_failures,breaker_seconds}' then
            perform private.retry_persona(object_id);
        end if;
    end if;
    settings := private.settings_of(kind, object_id);
    if settings is null then
        -- Removed at the same time.
        raise sqlstate 'PT404' using message = kind || '_not_found';
    end if;
    return settings;
end;
$$;
comment on function public.change_settings is 'Changes the given settings of a workspace, space, persona, channel, template or event subscription; the others stay. For owners and admins.';

grant execute on function
    private.apply_settings, private.settings_of, public.create_in_workspace, public.change_settings
    to service_role, switchboard;
