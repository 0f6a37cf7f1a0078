"""workspaces: workspaces with their members, spaces, personas, channels and other settings are managed."""

from typing import Annotated
from uuid import UUID

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from lib.auth.callers import Caller, User
from lib.channels import connecting
from lib.channels.connecting import Connected, TestOutcome
from lib.database import queries
from lib.database.management import managing_as
from lib.database.paging import Page, PageRequest
from lib.devices import device_links, device_sessions
from lib.devices.device_links import DeviceLink
from lib.devices.device_sessions import IssuedDeviceSession
from lib.devices.session_links import DeviceSession
from lib.http import app, request_body
from lib.http.app import Created
from lib.http.binding import OPTIONAL, ReadBy
from lib.imports import imports, items
from lib.sessions import answer_templates, session_templates
from lib.sessions.answer_templates import AnswerTemplate
from lib.sessions.session_templates import Template
from lib.webhooks import event_deliveries, event_subscriptions, received
from lib.webhooks.event_deliveries import EventDelivery
from lib.webhooks.event_subscriptions import EventSubscription
from lib.workflow import workflow_transitions
from lib.workflow.workflow_transitions import AddedTransition, Transition
from lib.workspaces import api_keys, channels, health, invitations, members, personas, retention, spaces, turn_errors
from lib.workspaces import workspaces as tenants
from lib.workspaces.api_keys import ApiKey, CreatedApiKey
from lib.workspaces.channels import Channel
from lib.workspaces.invitations import Invitation
from lib.workspaces.members import Member
from lib.workspaces.personas import Persona
from lib.workspaces.secrets import GivenSecret, NewSecret, Rotation
from lib.workspaces.spaces import Space
from lib.workspaces.turn_errors import TurnError
from lib.workspaces.workspaces import AllowedNetworksSet, Workspace


async def create_workspace(user: User, new: tenants.NewWorkspace) -> Created[Workspace]:
    """Create a workspace with its first owner; for operators."""
    return Created(await tenants.create(managing_as(user), new))


async def list_workspaces(user: User, paging: PageRequest) -> Page[Workspace]:
    """The workspaces that the user is a member of."""
    return await tenants.list_all(queries.reading_as(user), paging)


async def read_workspace(user: User, workspace_id: UUID) -> Workspace:
    """A workspace."""
    return await tenants.read(queries.reading_as(user), workspace_id)


async def change_workspace(user: User, workspace_id: UUID, changes: tenants.WorkspaceChanges) -> Workspace:
    """Change a workspace's settings."""
    return await tenants.change(managing_as(user), workspace_id, changes)


async def set_allowed_networks(user: User, workspace_id: UUID, networks: tenants.AllowedNetworks) -> AllowedNetworksSet:
    """Set the private networks that a workspace's personas may call; for operators."""
    return await tenants.set_allowed_networks(managing_as(user), workspace_id, networks)


async def read_retention(user: User, workspace_id: UUID) -> retention.Retention:
    """For how many days a workspace keeps what."""
    return await retention.read(managing_as(user), workspace_id)


async def set_retention(user: User, workspace_id: UUID, new: retention.RetentionSettings) -> retention.Retention:
    """Replace for how many days a workspace keeps what."""
    return await retention.replace(managing_as(user), workspace_id, new)


async def preview_retention(
    user: User, workspace_id: UUID, others: retention.RetentionSettings = OPTIONAL
) -> retention.RetentionPreview:
    """What a run would delete now."""
    return await retention.preview(managing_as(user), workspace_id, others)


async def list_turn_errors(user: User, workspace_id: UUID, asked: turn_errors.TurnErrorsRequest) -> Page[TurnError]:
    """What went wrong with a workspace's turns."""
    return await turn_errors.list_newest(queries.reading_as(user), workspace_id, asked)


async def examine_workspace(user: User, workspace_id: UUID) -> health.WorkspaceHealth:
    """What is not as it should be, and when the schedules ran."""
    return await health.examine(user, workspace_id)


async def list_webhook_deliveries(
    user: User, workspace_id: UUID, asked: received.DeliveriesRequest
) -> Page[received.ReceivedDelivery]:
    """What providers sent to a workspace, and what became of it."""
    return await received.list_newest(queries.reading_as(user), workspace_id, asked)


async def delete_workspace(user: User, workspace_id: UUID, confirmation: tenants.DeleteConfirmation) -> None:
    """Delete a workspace; the query repeats its name as confirmation."""
    await tenants.delete(managing_as(user), workspace_id, confirmation)


async def list_members(user: User, workspace_id: UUID, paging: PageRequest) -> Page[Member]:
    """A workspace's members."""
    return await members.list_all(queries.reading_as(user), workspace_id, paging)


async def set_member(user: User, workspace_id: UUID, user_id: UUID, grant: members.RoleGrant) -> Member:
    """Change a member's role."""
    return await members.set_role(managing_as(user), workspace_id, user_id, grant)


async def remove_member(user: User, workspace_id: UUID, user_id: UUID) -> None:
    """Remove a member; every member may leave."""
    await members.remove(managing_as(user), workspace_id, user_id)


async def list_api_keys(user: User, workspace_id: UUID, paging: PageRequest) -> Page[ApiKey]:
    """A workspace's API keys, also revoked ones."""
    return await api_keys.list_all(queries.reading_as(user), workspace_id, paging)


async def create_api_key(user: User, workspace_id: UUID, new: api_keys.NewApiKey) -> Created[CreatedApiKey]:
    """Create an API key; the response alone shows it."""
    return Created(await api_keys.create(managing_as(user), workspace_id, new))


async def revoke_api_key(user: User, workspace_id: UUID, key_id: UUID) -> None:
    """Revoke an API key at once."""
    await api_keys.revoke(managing_as(user), workspace_id, key_id)


async def invite_member(user: User, workspace_id: UUID, new: invitations.NewInvitation) -> Created[Invitation]:
    """Offer a role to the user who has confirmed an email."""
    return Created(await invitations.invite(managing_as(user), workspace_id, new))


async def list_invitations(user: User, workspace_id: UUID, paging: PageRequest) -> Page[Invitation]:
    """A workspace's invitations that were not accepted."""
    return await invitations.list_of_workspace(queries.reading_as(user), workspace_id, paging)


async def withdraw_invitation(user: User, workspace_id: UUID, invitation_id: UUID) -> None:
    """Withdraw an open invitation."""
    await invitations.withdraw(managing_as(user), workspace_id, invitation_id)


async def list_own_invitations(user: User, paging: PageRequest) -> Page[Invitation]:
    """The user's own open invitations."""
    return await invitations.list_own(queries.reading_as(user), user, paging)


async def accept_invitation(user: User, invitation_id: UUID) -> invitations.Membership:
    """Become a member by an invitation."""
    return await invitations.accept(managing_as(user), invitation_id)


async def list_transitions(user: User, workspace_id: UUID, paging: PageRequest) -> Page[Transition]:
    """The steps of a workspace's workflows."""
    return await workflow_transitions.list_all(queries.reading_as(user), workspace_id, paging)


async def add_transition(
    user: User, workspace_id: UUID, new: workflow_transitions.NewTransition
) -> Created[AddedTransition] | AddedTransition:
    """Allow a transition; 201 unless it was allowed before."""
    added = await workflow_transitions.add(managing_as(user), workspace_id, new)
    return Created(added) if added.created else added


async def remove_transition(user: User, workspace_id: UUID, transition_id: UUID) -> None:
    """Remove a transition."""
    await workflow_transitions.remove(managing_as(user), workspace_id, transition_id)


async def create_space(user: User, workspace_id: UUID, new: spaces.NewSpace) -> Created[Space]:
    """Create a space."""
    return Created(await spaces.create(managing_as(user), workspace_id, new))


async def list_spaces(user: User, workspace_id: UUID, paging: PageRequest) -> Page[Space]:
    """A workspace's spaces."""
    return await spaces.list_all(queries.reading_as(user), workspace_id, paging)


async def read_space(user: User, space_id: UUID) -> Space:
    """A space."""
    return await spaces.read(queries.reading_as(user), space_id)


async def change_space(user: User, space_id: UUID, changes: spaces.SpaceChanges) -> Space:
    """Change a space's settings."""
    return await spaces.change(managing_as(user), space_id, changes)


async def delete_space(user: User, space_id: UUID) -> None:
    """Delete a space without live sessions."""
    await spaces.delete(managing_as(user), space_id)


async def rotate_hmac_secret(user: User, space_id: UUID, rotation: Rotation = OPTIONAL) -> NewSecret:
    """Generate the secret with which emails are signed."""
    return await spaces.rotate_hmac_secret(managing_as(user), space_id, rotation)


async def remove_hmac_secret(user: User, space_id: UUID) -> None:
    """Refuse all signatures."""
    await spaces.remove_hmac_secret(managing_as(user), space_id)


async def create_persona(user: User, workspace_id: UUID, new: personas.NewPersona) -> Created[Persona]:
    """Create a persona."""
    return Created(await personas.create(managing_as(user), workspace_id, new))


async def list_personas(user: User, workspace_id: UUID, paging: PageRequest) -> Page[Persona]:
    """A workspace's personas."""
    return await personas.list_all(queries.reading_as(user), workspace_id, paging)


async def read_persona(user: User, persona_id: UUID) -> Persona:
    """A persona."""
    return await personas.read(queries.reading_as(user), persona_id)


async def change_persona(user: User, persona_id: UUID, changes: personas.PersonaChanges) -> Persona:
    """Change a persona's settings."""
    return await personas.change(queries.reading_as(user), managing_as(user), persona_id, changes)


async def delete_persona(user: User, persona_id: UUID) -> None:
    """Delete an unused persona."""
    await personas.delete(managing_as(user), persona_id)


async def set_persona_secret(user: User, persona_id: UUID, given: GivenSecret) -> None:
    """Set the secret that the persona sends with its calls."""
    await personas.set_secret(managing_as(user), persona_id, given)


async def remove_persona_secret(user: User, persona_id: UUID) -> None:
    """Remove the secret that the persona sends."""
    await personas.remove_secret(managing_as(user), persona_id)


async def rotate_callback_secret(user: User, persona_id: UUID, rotation: Rotation = OPTIONAL) -> NewSecret:
    """Generate the secret of asynchronous answers."""
    return await personas.rotate_callback_secret(managing_as(user), persona_id, rotation)


async def remove_callback_secret(user: User, persona_id: UUID) -> None:
    """Refuse asynchronous answers."""
    await personas.remove_callback_secret(managing_as(user), persona_id)


async def create_channel(user: User, workspace_id: UUID, new: channels.NewChannel) -> Created[Channel]:
    """Create a channel."""
    return Created(await channels.create(managing_as(user), workspace_id, new))


async def list_channels(user: User, workspace_id: UUID, paging: PageRequest) -> Page[Channel]:
    """A workspace's channels."""
    return await channels.list_all(queries.reading_as(user), workspace_id, paging)


async def read_channel(user: User, channel_id: UUID) -> Channel:
    """A channel."""
    return await channels.read(queries.reading_as(user), channel_id)


async def change_channel(user: User, channel_id: UUID, changes: channels.ChannelChanges) -> Channel:
    """Change a channel's settings."""
    return await channels.change(queries.reading_as(user), managing_as(user), channel_id, changes)


async def delete_channel(user: User, channel_id: UUID) -> None:
    """Delete a channel."""
    await channels.delete(managing_as(user), channel_id)


async def set_verify_secret(user: User, channel_id: UUID, given: GivenSecret) -> channels.VerifyToken:
    """Set what a channel's deliveries are verified with."""
    return await channels.set_verify_secret(queries.reading_as(user), managing_as(user), channel_id, given)


async def rotate_verify_secret(user: User, channel_id: UUID, rotation: Rotation = OPTIONAL) -> NewSecret:
    """Generate the secret that a channel's deliveries must carry."""
    return await channels.rotate_verify_secret(queries.reading_as(user), managing_as(user), channel_id, rotation)


async def set_channel_token(user: User, channel_id: UUID, given: GivenSecret) -> None:
    """Set the token that is sent to the API of a channel's provider."""
    await channels.set_token(managing_as(user), channel_id, given)


async def connect_channel(user: User, channel_id: UUID, asked: connecting.ConnectRequest) -> Connected:
    """Have a channel's provider deliver here."""
    return await connecting.connect(managing_as(user), queries.reading_as(user), channel_id, asked)


async def test_channel(user: User, channel_id: UUID, message: connecting.TestMessage) -> TestOutcome:
    """Send a test message through a channel."""
    return await connecting.send_test(managing_as(user), channel_id, message)


async def create_template(user: User, workspace_id: UUID, new: session_templates.NewTemplate) -> Created[Template]:
    """Create a session template."""
    return Created(await session_templates.create(managing_as(user), workspace_id, new))


async def list_templates(user: User, workspace_id: UUID, paging: PageRequest) -> Page[Template]:
    """A workspace's session templates."""
    return await session_templates.list_all(queries.reading_as(user), workspace_id, paging)


async def read_template(user: User, template_id: UUID) -> Template:
    """A session template."""
    return await session_templates.read(queries.reading_as(user), template_id)


async def change_template(user: User, template_id: UUID, changes: session_templates.TemplateChanges) -> Template:
    """Change a session template."""
    return await session_templates.change(managing_as(user), template_id, changes)


async def remove_template(user: User, template_id: UUID) -> None:
    """Remove a session template."""
    await session_templates.remove(managing_as(user), template_id)


async def create_answer_template(
    user: User, workspace_id: UUID, new: answer_templates.NewAnswerTemplate
) -> Created[AnswerTemplate]:
    """Create an answer template."""
    return Created(await answer_templates.create(managing_as(user), workspace_id, new))


async def list_answer_templates(user: User, workspace_id: UUID, paging: PageRequest) -> Page[AnswerTemplate]:
    """A workspace's answer templates."""
    return await answer_templates.list_all(queries.reading_as(user), workspace_id, paging)


async def change_answer_template(
    user: User, answer_template_id: UUID, changes: answer_templates.AnswerTemplateChanges
) -> AnswerTemplate:
    """Change an answer template."""
    return await answer_templates.change(managing_as(user), answer_template_id, changes)


async def remove_answer_template(user: User, answer_template_id: UUID) -> None:
    """Remove an answer template."""
    await answer_templates.remove(managing_as(user), answer_template_id)


async def issue_device_session(
    user: User, workspace_id: UUID, new: device_sessions.NewDeviceSession = OPTIONAL
) -> Created[IssuedDeviceSession]:
    """Issue a device session in advance, with its claim code."""
    return Created(await device_sessions.issue(managing_as(user), workspace_id, new))


async def list_device_sessions(user: User, workspace_id: UUID, paging: PageRequest) -> Page[DeviceSession]:
    """A workspace's device sessions."""
    return await device_sessions.list_of_workspace(queries.reading_as(user), workspace_id, paging)


async def transfer_device_session(
    user: User, device_session_id: UUID, to: device_sessions.DeviceSessionTransfer
) -> DeviceSession:
    """Attach a device session to another user, or detach it."""
    return await device_sessions.transfer(managing_as(user), device_session_id, to)


async def replace_claim_code(user: User, device_session_id: UUID) -> IssuedDeviceSession:
    """Give a device session a new claim code."""
    return await device_sessions.replace_claim_code(managing_as(user), device_session_id)


async def add_device_link(user: User, workspace_id: UUID, new: device_links.NewDeviceLink) -> Created[DeviceLink]:
    """Link a device to a user: verified by an admin, unverified by the user."""
    return Created(await device_links.add(managing_as(user), workspace_id, new))


async def list_device_links(user: User, workspace_id: UUID, paging: PageRequest) -> Page[DeviceLink]:
    """A workspace's device links."""
    return await device_links.list_of_workspace(queries.reading_as(user), workspace_id, paging)


async def list_own_device_links(user: User, paging: PageRequest) -> Page[DeviceLink]:
    """The user's own device links."""
    return await device_links.list_own(queries.reading_as(user), user, paging)


async def change_device_link(user: User, device_link_id: UUID, wanted: device_links.DeviceLinkChange) -> DeviceLink:
    """Verify or revoke a device link."""
    return await device_links.change(managing_as(user), device_link_id, wanted)


async def create_event_subscription(
    user: User, workspace_id: UUID, new: event_subscriptions.NewEventSubscription
) -> Created[event_subscriptions.CreatedEventSubscription]:
    """Subscribe a URL to events."""
    return Created(await event_subscriptions.create(managing_as(user), workspace_id, new))


async def list_event_subscriptions(user: User, workspace_id: UUID, paging: PageRequest) -> Page[EventSubscription]:
    """A workspace's event subscriptions."""
    return await event_subscriptions.list_all(queries.reading_as(user), workspace_id, paging)


async def read_event_subscription(user: User, event_subscription_id: UUID) -> EventSubscription:
    """An event subscription."""
    return await event_subscriptions.read(queries.reading_as(user), event_subscription_id)


async def change_event_subscription(
    user: User, event_subscription_id: UUID, changes: event_subscriptions.EventSubscriptionChanges
) -> EventSubscription:
    """Change an event subscription, or switch it on or off."""
    return await event_subscriptions.change(managing_as(user), event_subscription_id, changes)


async def remove_event_subscription(user: User, event_subscription_id: UUID) -> None:
    """Remove an event subscription with its deliveries."""
    await event_subscriptions.remove(managing_as(user), event_subscription_id)


async def rotate_signing_secret(user: User, event_subscription_id: UUID, rotation: Rotation = OPTIONAL) -> NewSecret:
    """Generate the secret under which deliveries are signed."""
    return await event_subscriptions.rotate_secret(managing_as(user), event_subscription_id, rotation)


async def test_event_subscription(user: User, event_subscription_id: UUID) -> EventDelivery:
    """Send a test event and show the answer."""
    queued = await event_deliveries.queue_test(managing_as(user), event_subscription_id)
    return await event_deliveries.deliver_now(queries.reading_as(user), queued)


async def list_event_deliveries(
    user: User, event_subscription_id: UUID, asked: event_deliveries.DeliveriesRequest
) -> Page[EventDelivery]:
    """The deliveries of an event subscription."""
    return await event_deliveries.list_newest(queries.reading_as(user), event_subscription_id, asked)


async def replay_event_delivery(user: User, event_delivery_id: UUID) -> EventDelivery:
    """Send a delivery again and show the answer."""
    queued = await event_deliveries.queue_replay(managing_as(user), event_delivery_id)
    return await event_deliveries.deliver_now(queries.reading_as(user), queued)


async def _batch(request: Request, _: Caller) -> items.ImportRequest:
    return request_body.validate(items.ImportRequest, await request_body.read_json(request, limit=items.MAX_BYTES))


async def import_batch(
    user: User, workspace_id: UUID, batch: Annotated[items.ImportRequest, ReadBy(_batch)]
) -> imports.ImportResult:
    """Store contacts and conversations of another system."""
    return await imports.store(managing_as(user), workspace_id, batch)


_HANDLERS = (
    create_workspace, list_workspaces, read_workspace, change_workspace, delete_workspace,
    set_allowed_networks, read_retention, set_retention, preview_retention, list_turn_errors,
    examine_workspace, list_webhook_deliveries,
    list_members, set_member, remove_member, list_api_keys, create_api_key, revoke_api_key,
    invite_member, list_invitations, withdraw_invitation, list_own_invitations, accept_invitation,
    list_transitions, add_transition, remove_transition,
    create_space, list_spaces, read_space, change_space, delete_space, rotate_hmac_secret, remove_hmac_secret,
    create_persona, list_personas, read_persona, change_persona, delete_persona,
    set_persona_secret, remove_persona_secret, rotate_callback_secret, remove_callback_secret,
    create_channel, list_channels, read_channel, change_channel, delete_channel,
    set_verify_secret, rotate_verify_secret, set_channel_token, connect_channel, test_channel,
    create_template, list_templates, read_template, change_template, remove_template,
    create_answer_template, list_answer_templates, change_answer_template, remove_answer_template,
    issue_device_session, list_device_sessions, transfer_device_session, replace_claim_code,
    add_device_link, list_device_links, list_own_device_links, change_device_link,
    create_event_subscription, list_event_subscriptions, read_event_subscription, change_event_subscription,
    remove_event_subscription, rotate_signing_secret, test_event_subscription,
    list_event_deliveries, replay_event_delivery,
    import_batch,
)  # fmt: skip

# A handler has the name of its route.
_serve = app.function("workspaces", {handler.__name__: handler for handler in _HANDLERS})


@functions_framework.aio.http
async def workspaces(request: Request) -> Response:
    """The function's entry point."""
    return await _serve(request)
