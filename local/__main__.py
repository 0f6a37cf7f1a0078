"""`python -m local …`: the commands behind `make run`, `up`, `down`, `status`, `reset`, `migration` and `openapi`."""

import asyncio
import os
import re
import shutil
import sys
from pathlib import Path

import click

from local import files, migrations, paths, schema, scratch, stack, supervisor
from local.keys import Keys
from local.layout import Layout
from local.migrations import MigrationError
from local.paths import SetupError
from local.postgres import PostgresError
from local.processes import ProcessError
from local.schema import ReleasedError
from local.stack import StackError
from local.supervisor import AlreadyRunningError, StackOptions


@click.group(help="The backend on one machine: Postgres, PostgREST, sign-in, schedules and every function.")
def main() -> None:
    """Collect the commands."""


@main.command()
def run() -> None:
    """Run the stack in the foreground; Ctrl-C stops all of it."""
    wanted = _options()

    def on_ready(layout: Layout, found: Keys) -> None:
        _announce(layout, found)
        click.echo("\nCtrl-C stops it.")

    try:
        asyncio.run(supervisor.serve(wanted, _say, on_ready))
    except AlreadyRunningError:
        if _announce_running(Path(wanted.state_dir)):
            click.echo("\nIt already runs, so nothing was started. `make down` stops it.", err=True)
        sys.exit(1)
    except (SetupError, ProcessError, PostgresError, MigrationError) as error:
        raise click.ClickException(str(error)) from error


@main.command()
def up() -> None:
    """Run the stack in the background."""
    wanted = _options()
    state_dir = Path(wanted.state_dir)
    if supervisor.is_running(state_dir):
        if not _announce_running(state_dir):
            sys.exit(1)
        click.echo("\nIt already runs.")
        return
    try:
        process = stack.launch(wanted, stay=True)
        started = stack.wait_until_ready(wanted, process, 120.0, _say)
    except (SetupError, StackError) as error:
        raise click.ClickException(str(error)) from error
    _announce(started.layout, started.keys)
    click.echo(f"\n`make down` stops it. Its logs are in {state_dir / 'logs'}.")


@main.command()
def down() -> None:
    """Stop the stack."""
    state_dir = paths.default_state_dir()
    if not supervisor.is_running(state_dir):
        click.echo("Nothing runs.")
        return
    try:
        stack.stop_supervisor(state_dir)
    except StackError as error:
        raise click.ClickException(str(error)) from error
    click.echo("Stopped.")


@main.command()
def status() -> None:
    """Print the URLs and keys of the running stack; exit status 3 when none runs, 1 when it does not answer."""
    state_dir = paths.default_state_dir()
    if not supervisor.is_running(state_dir):
        click.echo("Nothing runs. `make run` or `make up` starts it.")
        sys.exit(3)
    if not _announce_running(state_dir):
        sys.exit(1)


@main.command()
def reset() -> None:
    """Stop the stack and empty its database; the keys stay."""
    state_dir = paths.default_state_dir()
    was_running = supervisor.is_running(state_dir)
    try:
        if was_running:
            stack.stop_supervisor(state_dir)
    except StackError as error:
        raise click.ClickException(str(error)) from error
    shutil.rmtree(state_dir / "postgres", ignore_errors=True)
    if (state_dir / "postgres").exists():
        raise click.ClickException(f"{state_dir / 'postgres'} could not be removed")
    click.echo(f"{'Stopped and emptied' if was_running else 'Emptied'}: the next start makes a new database.")


@main.command()
@click.argument("name", default="")
def migration(name: str) -> None:
    """Write what changed in supabase/schemas and supabase/policies into a new migration, NAME: verb_object.

    Without a name, generate the baseline anew; possible until the first release.
    """
    if not name:
        try:
            schema.write_baseline()
        except ReleasedError as error:
            raise click.ClickException(str(error)) from error
        click.echo(f"Wrote the baseline of {len(schema.baseline())} migrations.")
        return
    if re.fullmatch(r"[a-z][a-z0-9_]*", name) is None:
        raise click.BadParameter("must be lower case like add_column_to_sessions", param_hint="NAME")

    async def write() -> Path | None:
        async with scratch.server() as cluster:
            migrated, declared = [await scratch.database(cluster, each) for each in ("migrated", "declared")]
            await migrations.apply(migrated)
            await schema.apply(declared)
            return await schema.write_migration(migrated, declared, name)

    try:
        written = asyncio.run(write())
    except (SetupError, PostgresError, MigrationError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"Wrote {written}." if written else "Nothing changed: migrations, schemas and policies agree.")


@main.command()
def openapi() -> None:
    """Write docs/openapi.json, and the tables of fields in docs/api.md, from what the code says."""
    from local import api_tables, openapi  # noqa: PLC0415 (loads every function)

    described = openapi.document()
    openapi.FILE.write_text(openapi.text(described))
    api_tables.PAGE.write_text(api_tables.filled(api_tables.PAGE.read_text(), described))
    click.echo(f"Wrote {openapi.FILE} and {api_tables.PAGE}.")


def _say(line: str) -> None:
    click.echo(line)


def _options() -> StackOptions:
    """The options of the stack of this folder, with the ports that the environment names."""
    return StackOptions(
        str(paths.default_state_dir()),
        api_port=_port("SWITCHBOARD_API_PORT"),
        db_port=_port("SWITCHBOARD_DB_PORT"),
        rest_port=_port("SWITCHBOARD_REST_PORT"),
        functions_env={"SWITCHBOARD_EMBEDDINGS": os.environ.get("SWITCHBOARD_EMBEDDINGS") or "local"},
    )


def _port(name: str) -> int | None:
    text = os.environ.get(name, "").strip()
    if text and not (text.isdecimal() and 0 < int(text) < 65_536):
        raise click.ClickException(f"{name} is no port: 1 to 65535.")
    return int(text) if text else None


def _announce_running(state_dir: Path) -> bool:
    """Print what runs, and whether it answers."""
    running = stack.running(state_dir)
    if running is None:
        click.echo("It is starting or stopping right now.")
    elif not stack.answers(running.layout):
        click.echo(
            f"It was started, but {running.api_url} is answered by another process, or not at all. "
            f"Its logs are in {state_dir / 'logs'}.",
            err=True,
        )
        return False
    else:
        _announce(running.layout, running.keys)
    return True


def _announce(layout: Layout, found: Keys) -> None:
    """Write .env.local and print what it says, with a command to try."""
    environment = layout.env(found)
    files.write_private(paths.env_file(), "".join(f'{name}="{value}"\n' for name, value in environment.items()))
    space = f"{layout.api_url}/space/{layout.demo.space_id}"
    table = {
        "API URL": layout.api_url,
        "REST URL": environment["REST_URL"],
        "Auth URL": f"{layout.api_url}/auth/v1",
        "DB URL": environment["DB_URL"],
        "Page": f"{layout.api_url}/",
        "Members' page": f"{layout.api_url}/dashboard/",
        "Publishable key": found.publishable_key,
        "Secret key": found.secret_key,
        "anon key": found.anon_key,
        "service_role key": found.service_role_key,
        "JWT secret": found.jwt_secret,
        "Cron secret": found.cron_secret,
        "Demo sign-ins": "owner@demo.test, agent@demo.test, visitor@demo.test",
        "Demo password": found.demo_password,
        "Settings file": str(paths.env_file()),
    }
    width = max(map(len, table))
    click.echo("\nSwitchboard runs.\n")
    for name, value in table.items():
        click.echo(f"{name:>{width}}: {value}")
    if layout.demo.space_id:
        body = '{"email": "you@example.com", "message": "Hello!"}'
        click.echo(f"\nTry:\n\n  curl -N -H 'Content-Type: application/json' -d '{body}' {space}/chat/stream")
        click.echo(f"\nor open {layout.api_url}/ to register and chat.")


if __name__ == "__main__":
    main()
