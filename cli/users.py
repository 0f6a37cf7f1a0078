"""`switchboard user …` and `switchboard token`: the users of Supabase Auth."""

import click

from cli import options, output, running

DEMO_DOMAIN = "@demo.test"


@click.group()
def user() -> None:
    """Create users of Supabase Auth."""


@user.command("create")
@click.argument("email")
@click.option("--password", is_flag=True, help="Give the user a password, read from standard input or a prompt.")
@options.as_json
def create_user(email: str, password: bool, as_json: bool) -> None:
    """Create a user who has confirmed this email, without a password unless --password is given.

    \b
    switchboard user create agent@example.com
    switchboard user create agent@example.com --password < password.txt
    """
    given = running.hidden("Password", confirm=True) if password else None
    if given == "":
        raise click.UsageError("--password needs a password.")
    output.one(running.run(lambda database: database.create_user(email, given)), as_json=as_json)


@click.command("token")
@click.argument("email")
@options.as_json
def print_token(email: str, as_json: bool) -> None:
    """Print a user's access token, for curl. The password is read from standard input or a prompt.

    The demo users of the local backend need none.

    \b
    switchboard token agent@example.com < password.txt
    curl -H "Authorization: Bearer $(switchboard token owner@demo.test)" http://127.0.0.1:54321/chat-sessions
    """
    known = running.project().demo_password if email.endswith(DEMO_DOMAIN) else None
    password = known or running.hidden("Password", confirm=False)
    signed = running.run(lambda database: database.sign_in(email, password))
    if as_json:
        output.one(signed, as_json=True)
        return
    click.echo(signed.access_token)
