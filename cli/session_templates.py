"""`switchboard template …`: presets with which sessions are started."""

from typing import Any
from uuid import UUID

import click

from cli import options, output, running
from lib.sessions import session_templates


@click.group()
def template() -> None:
    """Create and update session templates, the presets of new sessions."""


template_settings = options.group(
    click.option("--persona", "persona_id", type=click.UUID, help="The persona; by default the caller names one."),
    click.option("--workflow", help="The workflow of its sessions."),
    click.option("--step", "workflow_step", help="The first step."),
    running.json_option("--workflow-state", "The first state of the workflow"),
    click.option("--say", "first_messages", multiple=True, help="A first message of the persona; repeatable."),
    running.json_option("--metadata", "Stored with each session"),
)


@template.command("create")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@click.argument("name")
@options.new_id
@template_settings
@options.as_json
def create_template(workspace_id: UUID, as_json: bool, **values: Any) -> None:
    """Add a session template to a workspace.

    \b
    switchboard template create WORKSPACE "Trip" --persona PERSONA --say "Where would you like to go?"
    """
    new = running.model(session_templates.NewTemplate, values)
    output.made(
        running.run(lambda database: session_templates.create(database, workspace_id, new)), new, as_json=as_json
    )


@template.command("list")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@options.as_json
def list_templates(workspace_id: UUID, as_json: bool) -> None:
    """List a workspace's session templates.

    \b
    switchboard template list WORKSPACE
    """
    found = running.every(lambda queries, paging: session_templates.list_all(queries, workspace_id, paging))
    output.several(found, ("id", "name", "persona_id", "workflow", "workflow_step"), as_json=as_json)


@template.command("update")
@click.argument("template_id", metavar="TEMPLATE", type=click.UUID)
@click.option("--name")
@click.option("--no-persona", "no_persona_id", is_flag=True, help="The caller names the persona.")
@click.option("--no-workflow", is_flag=True, help="No workflow and no first step.")
@click.option("--no-first-messages", is_flag=True, help="No first messages.")
@template_settings
@options.as_json
def update_template(template_id: UUID, as_json: bool, **values: Any) -> None:
    """Change the given settings. First messages, metadata and workflow state are replaced as a whole.

    \b
    switchboard template update TEMPLATE --say "Good evening." --say "Where would you like to go?"
    """
    if values["no_workflow"] and values["workflow_step"] is not None:
        raise click.UsageError("Either --step or --no-workflow.")
    taken_away = {"no_workflow_step": values["no_workflow"]}
    changes = running.model(session_templates.TemplateChanges, {**values, **taken_away})
    output.one(running.run(lambda database: session_templates.change(database, template_id, changes)), as_json=as_json)


@template.command("remove")
@click.argument("template_id", metavar="TEMPLATE", type=click.UUID)
@options.as_json
def remove_template(template_id: UUID, as_json: bool) -> None:
    """Remove a session template; sessions started from it stay.

    \b
    switchboard template remove TEMPLATE
    """
    running.run(lambda database: session_templates.remove(database, template_id))
    output.done("Removed.", as_json=as_json)
