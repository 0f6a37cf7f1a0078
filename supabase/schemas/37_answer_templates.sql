-- Answer templates: texts that members insert in an answer.

create table public.answer_templates (
    id           uuid        not null default private.uuid7(),
    workspace_id uuid        not null,
    name         text        not null,
    shortcut     text,
    text         text        not null,
    created_at   timestamptz not null default now(),
    constraint answer_templates_pkey              primary key (id),
    constraint answer_templates_name_key          unique (workspace_id, name),
    constraint answer_templates_shortcut_key      unique (workspace_id, shortcut),
    constraint answer_templates_workspace_id_fkey foreign key (workspace_id) references public.workspaces (id) on delete cascade,
    constraint answer_templates_name              check (length(name) between 1 and 200),
    constraint answer_templates_shortcut          check (length(shortcut) between 1 and 32),
    constraint answer_templates_text              check (text <> '')
);
comment on table public.answer_templates is 'A text that members insert in an answer.';
comment on column public.answer_templates.shortcut is 'What a member types to insert it, in lower case; null: it is chosen by its name.';
alter table public.answer_templates enable row level security;

create function public.create_answer_template(workspace_id uuid, template jsonb)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_to_manage('workspace', workspace_id, 'admin');
    made_id   constant uuid := coalesce((template ->> 'id')::uuid, private.uuid7());
    broken    text;
begin
    insert into public.answer_templates (id, workspace_id, name, shortcut, text)
    values (made_id, workspace, template ->> 'name', template ->> 'shortcut', template ->> 'text')
    on conflict on constraint answer_templates_pkey do nothing;
    if found then
        perform private.record_change(workspace, 'answer_template.created', made_id);
    elsif private.workspace_of('answer_template', made_id) is distinct from workspace then
        raise sqlstate 'PT409' using message = 'id_taken';
    end if;
    return (select to_jsonb(t) from public.answer_templates t where t.id = made_id);
exception when unique_violation then
    get stacked diagnostics broken = constraint_name;
    if broken = 'answer_templates_shortcut_key' then
        raise sqlstate 'PT409' using message = 'shortcut_taken';
    end if;
    raise sqlstate 'PT409' using message = 'name_taken';
end;
$$;
comment on function public.create_answer_template is 'Creates an answer template {id, name, shortcut, text}; a repeated id returns the existing one. For owners and admins.';

create function public.change_answer_template(answer_template_id uuid, changes jsonb)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_to_manage('answer_template', answer_template_id, 'admin');
    after     public.answer_templates;
    broken    text;
begin
    update public.answer_templates t
       set (name, shortcut, text) = (select n.name, n.shortcut, n.text from jsonb_populate_record(t, changes) n)
     where t.id = answer_template_id
       and jsonb_populate_record(t, changes) is distinct from t;
    if found then
        perform private.record_change(workspace, 'answer_template.changed', answer_template_id);
    end if;
    select t.* into after from public.answer_templates t where t.id = answer_template_id;
    if not found then
        -- Removed at the same time.
        raise sqlstate 'PT404' using message = 'answer_template_not_found';
    end if;
    return to_jsonb(after);
exception when unique_violation then
    get stacked diagnostics broken = constraint_name;
    if broken = 'answer_templates_shortcut_key' then
        raise sqlstate 'PT409' using message = 'shortcut_taken';
    end if;
    raise sqlstate 'PT409' using message = 'name_taken';
end;
$$;
comment on function public.change_answer_template is 'Changes the given members of an answer template; the others stay. For owners and admins.';

create function public.remove_answer_template(answer_template_id uuid)
    returns jsonb language plpgsql set search_path = ''
as $$
declare
    workspace constant uuid := private.enter_to_manage('answer_template', answer_template_id, 'admin');
begin
    delete from public.answer_templates t where t.id = answer_template_id and t.workspace_id = workspace;
    if found then
        perform private.record_change(workspace, 'answer_template.removed', answer_template_id);
    end if;
    return jsonb_build_object('removed', true);
end;
$$;
comment on function public.remove_answer_template is 'Removes an answer template. For owners and admins.';

grant execute on function
    public.create_answer_template, public.change_answer_template, public.remove_answer_template
    to service_role, switchboard;
