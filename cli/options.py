"""Options that several commands share."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
"""The option that every command has."""

create_user = click.option(
    "--create-user", is_flag=True, help="If no user has confirmed this email, create one, without a password."
)
new_id = click.option("--id", type=click.UUID, help="A chosen id, which makes the command safe to repeat.")
overlap = click.option(
    "--overlap-seconds", type=int, help="How long older secrets stay valid: 0 to 604800, 3600 by default."
)
enabled = click.option("--enable/--disable", "enabled", default=None, help="Whether it accepts messages.")


def group(*options: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """Several options as one decorator, in this order."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate
