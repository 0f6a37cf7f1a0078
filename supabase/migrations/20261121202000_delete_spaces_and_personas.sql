-- Owners delete what is not needed any more: a space, a persona, or the whole workspace. What goes with a row goes by its
-- foreign keys and triggers: secrets leave Vault with it.

set lock_timeout = '5s';
set statement_timeout = '60s';

grant delete on public.workspaces, public.personas, public.spaces to switchboard;

create function private.enter_as_owner(noun text, object_id uuid)
    returns uuid
    language plpgsql
    volatile
    set search_path = ''
as $$
begin
    if private.enter_to_manage(noun, object_id) <> 'owner' then
        raise sqlstate 'PT403' using message = 'forbidden', detail = 'Only owners may delete this.';
    end if;
    return private.workspace_of(noun, object_id);
end;
$$;
comment on function private.enter_as_owner(text, uuid) is 'Enters as enter_as_admin does, for owners and operators'' commands only; gives the workspace.';

create function public.delete_space(space_id uuid)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_as_owner('space', space_id);
begin
    -- Locked first: a conversation that is opened in this moment waits, and does not find the space any more.
    perform from public.spaces s where s.id = delete_space.space_id and s.workspace_id = workspace for update;
    if not found then
        raise sqlstate 'PT404' using message = 'space_not_found', detail = 'There is no such space.';
    end if;
    if exists (select
                 from public.conversations c
                 join public.sessions s on s.conversation_id = c.id
                where c.workspace_id = workspace
                  and c.space_id = delete_space.space_id
                  and s.workspace_id = workspace
                  and s.status in ('active', 'paused')) then
        raise sqlstate 'PT409' using
            message = 'space_in_use',
            detail  = 'Sessions that began there are active or paused. Disable the space, and delete it once they have ended.';
    end if;
    delete from public.spaces s where s.id = delete_space.space_id and s.workspace_id = workspace;
    perform private.record_change(workspace, 'space.deleted', space_id);
    return pg_catalog.jsonb_build_object('removed', true);
end;
$$;
comment on function public.delete_space(uuid) is
    'Deletes a space in which no session is active or paused, and its secrets; what was said there stays, without a space. For owners.';

create function public.delete_persona(persona_id uuid)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_as_owner('persona', persona_id);
begin
    -- Whatever points at a persona keeps it. Some of these keys are checked at the end (for the sake of whole workspaces),
    -- which would be too late to say so.
    begin
        delete from public.personas p where p.id = delete_persona.persona_id and p.workspace_id = workspace;
        if not found then
            raise sqlstate 'PT404' using message = 'persona_not_found', detail = 'There is no such persona.';
        end if;
        set constraints all immediate;
    exception when foreign_key_violation then
        raise sqlstate 'PT409' using
            message = 'persona_in_use',
            detail  = 'A space or a session template names it, or it has conversations. Give these another persona, and disable it.';
    end;
    perform private.record_change(workspace, 'persona.deleted', persona_id);
    return pg_catalog.jsonb_build_object('removed', true);
end;
$$;
comment on function public.delete_persona(uuid) is
    'Deletes a persona that no space or session template names and that never had a conversation, and its secrets. For owners.';

create function public.delete_workspace(workspace_id uuid, name text)
    returns jsonb
    language plpgsql
    volatile
    set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_as_owner('workspace', workspace_id);
    present   text;
begin
    select w.name into present from public.workspaces w where w.id = workspace for update;
    if not found then
        raise sqlstate 'PT404' using message = 'workspace_not_found', detail = 'There is no such workspace.';
    end if;
    if present is distinct from delete_workspace.name then
        raise sqlstate 'PT409' using message = 'wrong_name', detail = 'The workspace has another name.';
    end if;
    delete from public.workspaces w where w.id = workspace;
    return pg_catalog.jsonb_build_object('removed', true);
end;
$$;
comment on function public.delete_workspace(uuid, text) is
    'Deletes a workspace and everything in it, if its name is given: contacts, conversations, secrets, its audit. For owners; it cannot be undone.';

grant execute on function
    private.enter_as_owner(text, uuid), public.delete_space(uuid), public.delete_persona(uuid), public.delete_workspace(uuid, text)
    to switchboard, service_role;
