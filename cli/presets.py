"""`switchboard template …` and `transition …`: what a workspace's sessions are started by, and the steps they take."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import click

from cli import output, running
from cli.output import as_json
from lib.sessions import session_templates
from lib.workflow import workflow_transitions


@click.group()
def template() -> None:
    """Make and change session templates, which members start sessions by."""


def _members(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        running.json_option("--metadata", "Kept with each session"),
        click.option("--say", "first_messages", multiple=True, help="What the persona says first; repeatable."),
        running.json_option("--workflow-state", "What the workflow begins with"),
        click.option("--step", "workflow_step", help="The step that it begins with."),
        click.option("--workflow", help="The workflow that a session follows."),
        click.option("--persona", "persona_id", type=click.UUID, help="Who answers; else whoever starts one says."),
    ):
        command = option(command)
    return command


@template.command("create")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@click.argument("name")
@click.option("--id", type=click.UUID, help="An id of your choice, so that repeating the command makes nothing twice.")
@_members
@as_json
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
@as_json
def list_templates(workspace_id: UUID, as_json: bool) -> None:
    """A workspace's session templates.

    \b
    switchboard template list WORKSPACE
    """
    found = running.run(
        lambda database: running.every(lambda paging: session_templates.list_all(database, workspace_id, paging)),
    )
    output.several(found, ("id", "name", "persona_id", "workflow", "workflow_step"), as_json=as_json)


@template.command("update")
@click.argument("template_id", metavar="TEMPLATE", type=click.UUID)
@click.option("--name")
@click.option("--no-persona", "no_persona_id", is_flag=True, help="Whoever starts one says who answers.")
@click.option("--no-workflow", is_flag=True, help="A session follows none, and begins with no step.")
@click.option("--no-first-messages", is_flag=True, help="The persona says nothing first.")
@_members
@as_json
def update_template(template_id: UUID, as_json: bool, **values: Any) -> None:
    """Change what is given. First messages, metadata and the workflow's state are replaced as a whole.

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
@as_json
def remove_template(template_id: UUID, as_json: bool) -> None:
    """Take a session template away; sessions that were started by it stay.

    \b
    switchboard template remove TEMPLATE
    """
    running.run(lambda database: session_templates.remove(database, template_id))
    output.done("Removed.", as_json=as_json)


@click.group()
def transition() -> None:
    """Say which steps a workspace's workflows have, and which may follow which."""


@transition.command("add")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@click.argument("workflow")
@click.argument("to_step", metavar="STEP")
@click.option("--from", "from_step", help="The step that it may follow; without it, the workflow may begin with it.")
@as_json
def add_transition(workspace_id: UUID, as_json: bool, **values: Any) -> None:
    """Let a step follow another. What is allowed already stays as it is.

    \b
    switchboard transition add WORKSPACE charter asking_back --from understanding_request
    """
    new = running.model(workflow_transitions.NewTransition, values)
    output.one(running.run(lambda database: workflow_transitions.add(database, workspace_id, new)), as_json=as_json)


@transition.command("list")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@as_json
def list_transitions(workspace_id: UUID, as_json: bool) -> None:
    """The steps of a workspace's workflows, the built-in ones first.

    \b
    switchboard transition list WORKSPACE
    """
    found = running.run(
        lambda database: running.every(lambda paging: workflow_transitions.list_all(database, workspace_id, paging)),
    )
    output.several(found, ("id", "workflow", "from_step", "to_step", "built_in"), as_json=as_json)


@transition.command("remove")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@click.argument("transition_id", metavar="TRANSITION", type=click.UUID)
@as_json
def remove_transition(workspace_id: UUID, transition_id: UUID, as_json: bool) -> None:
    """Take one of the workspace's own away; sessions stay where they are.

    \b
    switchboard transition remove WORKSPACE TRANSITION
    """
    running.run(lambda database: workflow_transitions.remove(database, workspace_id, transition_id))
    output.done("Removed.", as_json=as_json)
