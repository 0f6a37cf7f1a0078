"""`switchboard answer-template …`: texts that members insert in an answer."""

from typing import Any
from uuid import UUID

import click

from cli import options, output, running
from lib.sessions import answer_templates


@click.group("answer-template")
def answer_template() -> None:
    """Create and update answer templates, the texts that members insert in an answer."""


@answer_template.command("create")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@click.argument("name")
@click.argument("text")
@click.option("--shortcut", help="What a member types to insert it: a word without spaces.")
@options.new_id
@options.as_json
def create_answer_template(workspace_id: UUID, as_json: bool, **values: Any) -> None:
    """Add an answer template to a workspace; TEXT is Markdown.

    \b
    switchboard answer-template create WORKSPACE "Hours" "We answer from 8 to 22." --shortcut hours
    """
    new = running.model(answer_templates.NewAnswerTemplate, values)
    output.made(
        running.run(lambda database: answer_templates.create(database, workspace_id, new)), new, as_json=as_json
    )


@answer_template.command("list")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@options.as_json
def list_answer_templates(workspace_id: UUID, as_json: bool) -> None:
    """List a workspace's answer templates.

    \b
    switchboard answer-template list WORKSPACE
    """
    found = running.every(lambda queries, paging: answer_templates.list_all(queries, workspace_id, paging))
    output.several(found, ("id", "name", "shortcut", "text"), as_json=as_json)


@answer_template.command("update")
@click.argument("answer_template_id", metavar="TEMPLATE", type=click.UUID)
@click.option("--name")
@click.option("--text")
@click.option("--shortcut")
@click.option("--no-shortcut", is_flag=True, help="No shortcut.")
@options.as_json
def update_answer_template(answer_template_id: UUID, as_json: bool, **values: Any) -> None:
    """Change the given settings.

    \b
    switchboard answer-template update TEMPLATE --text "We answer from 9 to 21."
    """
    changes = running.model(answer_templates.AnswerTemplateChanges, values)
    output.one(
        running.run(lambda database: answer_templates.change(database, answer_template_id, changes)), as_json=as_json
    )


@answer_template.command("remove")
@click.argument("answer_template_id", metavar="TEMPLATE", type=click.UUID)
@options.as_json
def remove_answer_template(answer_template_id: UUID, as_json: bool) -> None:
    """Remove an answer template; answers that were sent stay.

    \b
    switchboard answer-template remove TEMPLATE
    """
    running.run(lambda database: answer_templates.remove(database, answer_template_id))
    output.done("Removed.", as_json=as_json)
