"""`switchboard …`: the operators' commands, one module per noun."""

import click

from cli import (
    answer_templates,
    api_keys,
    channels,
    chat,
    contacts,
    conversations,
    devices,
    doctor,
    event_subscriptions,
    exports,
    imports,
    jobs,
    members,
    memory,
    personas,
    session_templates,
    sessions,
    spaces,
    turns,
    users,
    workflow_transitions,
    workspaces,
)
from cli import erasures as _erasures  # noqa: F401 (its commands are of the group contact)
from cli import retention as _retention  # noqa: F401 (its command is of the group workspace)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """Set up workspaces: members, spaces, personas and secrets, session templates, workflows. Manage contacts,
    sessions and jobs. Chat with personas.

    Uses the project of SUPABASE_URL (or SUPABASE_REST_URL) with SUPABASE_SERVICE_ROLE_KEY; if none is set, the local
    backend that `make up` started. The commands chat and memory use the functions of
    SWITCHBOARD_URL with SWITCHBOARD_API_KEY, or the local ones.

    \b
    Example, from an empty database to a chat:
      switchboard workspace create "Example Travel" --owner-email owner@example.com --create-user
      switchboard persona create WORKSPACE demo "Concierge"
      switchboard space create WORKSPACE "Website" --persona PERSONA --origin https://www.example.com
    """


for command in (
    workspaces.workspace,
    members.member,
    memory.memory,
    api_keys.api_key,
    users.user,
    users.print_token,
    spaces.space,
    personas.persona,
    channels.channel,
    chat.chat,
    contacts.contact,
    conversations.conversation,
    sessions.session,
    turns.turn,
    devices.device,
    jobs.job,
    event_subscriptions.event_subscription,
    event_subscriptions.event_delivery,
    session_templates.template,
    answer_templates.answer_template,
    workflow_transitions.transition,
    doctor.doctor,
    exports.export_file,
    imports.import_file,
):
    main.add_command(command)


if __name__ == "__main__":
    main(prog_name="switchboard")
