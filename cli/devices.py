"""`switchboard device …`: wearables, their sessions and their users."""

from typing import Literal
from uuid import UUID

import click

from cli import options, output, running
from lib.devices import device_links, device_sessions


@click.group()
def device() -> None:
    """Issue device sessions, and manage which user a device belongs to."""


@device.command("issue")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@click.option("--uid", help="The device's id, if it is known.")
@click.option("--user-id", type=click.UUID, help="Its user; by default the holder of the claim code.")
@options.as_json
def issue_session(workspace_id: UUID, uid: str | None, user_id: UUID | None, as_json: bool) -> None:
    """Create a session to configure in a device, and print its claim code once.

    \b
    switchboard device issue WORKSPACE --uid device-123
    """
    new = running.model(device_sessions.NewDeviceSession, {"uid": uid, "user_id": user_id})
    output.one(running.run(lambda database: device_sessions.issue(database, workspace_id, new)), as_json=as_json)


@device.command("sessions")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@options.as_json
def list_sessions(workspace_id: UUID, as_json: bool) -> None:
    """List a workspace's device sessions.

    \b
    switchboard device sessions WORKSPACE
    """
    found = running.every(lambda queries, paging: device_sessions.list_of_workspace(queries, workspace_id, paging))
    output.several(found, ("id", "session_id", "uid", "user_id", "linked_with", "last_segment_at"), as_json=as_json)


@device.command("claim-code")
@click.argument("device_session_id", metavar="DEVICE_SESSION", type=click.UUID)
@options.as_json
def replace_claim_code(device_session_id: UUID, as_json: bool) -> None:
    """Replace the claim code of a device session, and print the new one once.

    \b
    switchboard device claim-code DEVICE_SESSION
    """
    replaced = running.run(lambda database: device_sessions.replace_claim_code(database, device_session_id))
    output.one(replaced, as_json=as_json)


@device.command("transfer")
@click.argument("device_session_id", metavar="DEVICE_SESSION", type=click.UUID)
@click.option("--user-id", type=click.UUID, help="The user; without one the session is detached.")
@options.as_json
def transfer_session(device_session_id: UUID, user_id: UUID | None, as_json: bool) -> None:
    """Attach a device session and its conversation to another user.

    \b
    switchboard device transfer DEVICE_SESSION --user-id USER
    """
    to = device_sessions.DeviceSessionTransfer(user_id=user_id)
    moved = running.run(lambda database: device_sessions.transfer(database, device_session_id, to))
    output.one(moved, as_json=as_json)


@device.command("link")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@click.argument("uid", metavar="UID")
@click.option("--user-id", type=click.UUID, required=True, help="The user whom the device belongs to.")
@options.as_json
def link_device(workspace_id: UUID, uid: str, user_id: UUID, as_json: bool) -> None:
    """Link a device to a user, verified: its new sessions are attached to the user.

    \b
    switchboard device link WORKSPACE device-123 --user-id USER
    """
    new = running.model(device_links.NewDeviceLink, {"uid": uid, "user_id": user_id})
    output.one(running.run(lambda database: device_links.add(database, workspace_id, new)), as_json=as_json)


@device.command("links")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@options.as_json
def list_links(workspace_id: UUID, as_json: bool) -> None:
    """List a workspace's device links.

    \b
    switchboard device links WORKSPACE
    """
    found = running.every(lambda queries, paging: device_links.list_of_workspace(queries, workspace_id, paging))
    output.several(found, ("id", "uid", "user_id", "status", "verified_with"), as_json=as_json)


@device.command("verify")
@click.argument("link_id", metavar="LINK", type=click.UUID)
@options.as_json
def verify_link(link_id: UUID, as_json: bool) -> None:
    """Verify a device link; another user's verified link of the device is revoked.

    \b
    switchboard device verify LINK
    """
    _change_link(link_id, "verified", as_json=as_json)


@device.command("revoke")
@click.argument("link_id", metavar="LINK", type=click.UUID)
@options.as_json
def revoke_link(link_id: UUID, as_json: bool) -> None:
    """Revoke a device link; sessions that it attached stay with the user.

    \b
    switchboard device revoke LINK
    """
    _change_link(link_id, "revoked", as_json=as_json)


def _change_link(link_id: UUID, status: Literal["verified", "revoked"], *, as_json: bool) -> None:
    wanted = device_links.DeviceLinkChange(status=status)
    output.one(running.run(lambda database: device_links.change(database, link_id, wanted)), as_json=as_json)
