"""`switchboard transition …`: the steps of a workspace's workflows."""

from typing import Any
from uuid import UUID

import click

from cli import options, output, running
from lib.workflow import workflow_transitions


@click.group()
def transition() -> None:
    """Manage the steps of a workspace's workflows and their transitions."""


@transition.command("add")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@click.argument("workflow")
@click.argument("to_step", metavar="STEP")
@click.option("--from", "from_step", help="The step before; without it, the workflow may begin with this step.")
@options.as_json
def add_transition(workspace_id: UUID, as_json: bool, **values: Any) -> None:
    """Allow a transition from one step to another. An existing transition stays.

    \b
    switchboard transition add WORKSPACE charter asking_back --from understanding_request
    """
    new = running.model(workflow_transitions.NewTransition, values)
    output.one(running.run(lambda database: workflow_transitions.add(database, workspace_id, new)), as_json=as_json)


@transition.command("list")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@options.as_json
def list_transitions(workspace_id: UUID, as_json: bool) -> None:
    """List the transitions of a workspace's workflows, the built-in ones first.

    \b
    switchboard transition list WORKSPACE
    """
    found = running.every(lambda queries, paging: workflow_transitions.list_all(queries, workspace_id, paging))
    output.several(found, ("id", "workflow", "from_step", "to_step", "built_in"), as_json=as_json)


@transition.command("remove")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@click.argument("transition_id", metavar="TRANSITION", type=click.UUID)
@options.as_json
def remove_transition(workspace_id: UUID, transition_id: UUID, as_json: bool) -> None:
    """Remove one of the workspace's own transitions; sessions keep their step.

    \b
    switchboard transition remove WORKSPACE TRANSITION
    """
    running.run(lambda database: workflow_transitions.remove(database, workspace_id, transition_id))
    output.done("Removed.", as_json=as_json)
