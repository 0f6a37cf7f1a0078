"""workspaces: workspaces, their members, spaces, personas, templates and transitions are managed."""

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from lib.auth import callers
from lib.database import queries
from lib.database.management import managing_as
from lib.database.paging import Page, PageRequest
from lib.http import app, request_body
from lib.sessions import session_templates
from lib.sessions.session_templates import Template
from lib.workflow import workflow_transitions
from lib.workspaces import invitations, members, personas, spaces, turn_errors
from lib.workspaces import workspaces as tenants
from lib.workspaces.invitations import Invitation
from lib.workspaces.members import Member
from lib.workspaces.personas import Persona
from lib.workspaces.secrets import GivenSecret, NewSecret, Rotation
from lib.workspaces.spaces import Space
from lib.workspaces.turn_errors import TurnError
from lib.workspaces.workspaces import AllowedNetworksSet, Workspace


async def create_workspace(request: Request) -> Response:
    """Create a workspace with its first owner; for operators."""
    user = await callers.require_user(request)
    new = await request_body.read(request, tenants.NewWorkspace)
    return app.created(await tenants.create(managing_as(user), new))


async def list_workspaces(request: Request) -> Page[Workspace]:
    """The workspaces that the user is a member of."""
    user = await callers.require_user(request)
    return await tenants.list_all(queries.reading_as(user), request_body.read_query(request, PageRequest))


async def read_workspace(request: Request) -> Workspace:
    """A workspace."""
    user = await callers.require_user(request)
    return await tenants.read(queries.reading_as(user), app.path_id(request, "workspace_id"))


async def change_workspace(request: Request) -> Workspace:
    """Change a workspace's settings."""
    workspace_id, user = app.path_id(request, "workspace_id"), await callers.require_user(request)
    changes = await request_body.read(request, tenants.WorkspaceChanges)
    return await tenants.change(managing_as(user), workspace_id, changes)


async def set_allowed_networks(request: Request) -> AllowedNetworksSet:
    """Set the private networks that a workspace's personas may call; for operators."""
    workspace_id, user = app.path_id(request, "workspace_id"), await callers.require_user(request)
    networks = await request_body.read(request, tenants.AllowedNetworks)
    return await tenants.set_allowed_networks(managing_as(user), workspace_id, networks)


async def list_turn_errors(request: Request) -> Page[TurnError]:
    """What went wrong with a workspace's turns."""
    user = await callers.require_user(request)
    workspace_id = app.path_id(request, "workspace_id")
    asked = request_body.read_query(request, turn_errors.TurnErrorsRequest)
    return await turn_errors.list_newest(queries.reading_as(user), workspace_id, asked)


async def delete_workspace(request: Request) -> Response:
    """Delete a workspace; the query repeats its name as confirmation."""
    workspace_id, user = app.path_id(request, "workspace_id"), await callers.require_user(request)
    await tenants.delete(managing_as(user), workspace_id, request_body.read_query(request, tenants.DeleteConfirmation))
    return app.nothing()


async def list_members(request: Request) -> Page[Member]:
    """A workspace's members."""
    user = await callers.require_user(request)
    workspace_id = app.path_id(request, "workspace_id")
    return await members.list_all(queries.reading_as(user), workspace_id, request_body.read_query(request, PageRequest))


async def set_member(request: Request) -> Member:
    """Change a member's role."""
    workspace_id, user_id = app.path_id(request, "workspace_id"), app.path_id(request, "user_id")
    user = await callers.require_user(request)
    grant = await request_body.read(request, members.RoleGrant)
    return await members.set_role(managing_as(user), workspace_id, user_id, grant)


async def remove_member(request: Request) -> Response:
    """Remove a member; every member may leave."""
    workspace_id, user_id = app.path_id(request, "workspace_id"), app.path_id(request, "user_id")
    user = await callers.require_user(request)
    await members.remove(managing_as(user), workspace_id, user_id)
    return app.nothing()


async def invite_member(request: Request) -> Response:
    """Offer a role to the user who has confirmed an email."""
    workspace_id, user = app.path_id(request, "workspace_id"), await callers.require_user(request)
    new = await request_body.read(request, invitations.NewInvitation)
    return app.created(await invitations.invite(managing_as(user), workspace_id, new))


async def list_invitations(request: Request) -> Page[Invitation]:
    """A workspace's invitations that were not accepted."""
    workspace_id, user = app.path_id(request, "workspace_id"), await callers.require_user(request)
    paging = request_body.read_query(request, PageRequest)
    return await invitations.list_of_workspace(queries.reading_as(user), workspace_id, paging)


async def withdraw_invitation(request: Request) -> Response:
    """Withdraw an open invitation."""
    workspace_id, invitation_id = app.path_id(request, "workspace_id"), app.path_id(request, "invitation_id")
    user = await callers.require_user(request)
    await invitations.withdraw(managing_as(user), workspace_id, invitation_id)
    return app.nothing()


async def list_own_invitations(request: Request) -> Page[Invitation]:
    """The user's own open invitations."""
    user = await callers.require_user(request)
    return await invitations.list_own(queries.reading_as(user), user, request_body.read_query(request, PageRequest))


async def accept_invitation(request: Request) -> invitations.Membership:
    """Become a member by an invitation."""
    invitation_id, user = app.path_id(request, "invitation_id"), await callers.require_user(request)
    await request_body.refuse_members(request)
    return await invitations.accept(managing_as(user), invitation_id)


async def list_transitions(request: Request) -> Page[workflow_transitions.Transition]:
    """The steps of a workspace's workflows."""
    user = await callers.require_user(request)
    workspace_id = app.path_id(request, "workspace_id")
    return await workflow_transitions.list_all(
        queries.reading_as(user), workspace_id, request_body.read_query(request, PageRequest)
    )


async def add_transition(request: Request) -> Response | workflow_transitions.AddedTransition:
    """Allow a transition."""
    workspace_id, user = app.path_id(request, "workspace_id"), await callers.require_user(request)
    new = await request_body.read(request, workflow_transitions.NewTransition)
    added = await workflow_transitions.add(managing_as(user), workspace_id, new)
    return app.created(added) if added.created else added


async def remove_transition(request: Request) -> Response:
    """Remove a transition."""
    workspace_id, transition_id = app.path_id(request, "workspace_id"), app.path_id(request, "transition_id")
    user = await callers.require_user(request)
    await workflow_transitions.remove(managing_as(user), workspace_id, transition_id)
    return app.nothing()


async def create_space(request: Request) -> Response:
    """Create a space."""
    workspace_id, user = app.path_id(request, "workspace_id"), await callers.require_user(request)
    new = await request_body.read(request, spaces.NewSpace)
    return app.created(await spaces.create(managing_as(user), workspace_id, new))


async def list_spaces(request: Request) -> Page[Space]:
    """A workspace's spaces."""
    user = await callers.require_user(request)
    workspace_id = app.path_id(request, "workspace_id")
    return await spaces.list_all(queries.reading_as(user), workspace_id, request_body.read_query(request, PageRequest))


async def read_space(request: Request) -> Space:
    """A space."""
    user = await callers.require_user(request)
    return await spaces.read(queries.reading_as(user), app.path_id(request, "space_id"))


async def change_space(request: Request) -> Space:
    """Change a space's settings."""
    space_id, user = app.path_id(request, "space_id"), await callers.require_user(request)
    changes = await request_body.read(request, spaces.SpaceChanges)
    return await spaces.change(managing_as(user), space_id, changes)


async def delete_space(request: Request) -> Response:
    """Delete a space without live sessions."""
    space_id, user = app.path_id(request, "space_id"), await callers.require_user(request)
    await spaces.delete(managing_as(user), space_id)
    return app.nothing()


async def rotate_hmac_secret(request: Request) -> NewSecret:
    """Generate the secret with which emails are signed."""
    space_id, user = app.path_id(request, "space_id"), await callers.require_user(request)
    rotation = await request_body.read_optional(request, Rotation)
    return await spaces.rotate_hmac_secret(managing_as(user), space_id, rotation)


async def remove_hmac_secret(request: Request) -> Response:
    """Refuse all signatures."""
    space_id, user = app.path_id(request, "space_id"), await callers.require_user(request)
    await spaces.remove_hmac_secret(managing_as(user), space_id)
    return app.nothing()


async def create_persona(request: Request) -> Response:
    """Create a persona."""
    workspace_id, user = app.path_id(request, "workspace_id"), await callers.require_user(request)
    new = await request_body.read(request, personas.NewPersona)
    return app.created(await personas.create(managing_as(user), workspace_id, new))


async def list_personas(request: Request) -> Page[Persona]:
    """A workspace's personas."""
    user = await callers.require_user(request)
    workspace_id = app.path_id(request, "workspace_id")
    return await personas.list_all(
        queries.reading_as(user), workspace_id, request_body.read_query(request, PageRequest)
    )


async def read_persona(request: Request) -> Persona:
    """A persona."""
    user = await callers.require_user(request)
    return await personas.read(queries.reading_as(user), app.path_id(request, "persona_id"))


async def change_persona(request: Request) -> Persona:
    """Change a persona's settings."""
    persona_id, user = app.path_id(request, "persona_id"), await callers.require_user(request)
    changes = await request_body.read(request, personas.PersonaChanges)
    return await personas.change(queries.reading_as(user), managing_as(user), persona_id, changes)


async def delete_persona(request: Request) -> Response:
    """Delete an unused persona."""
    persona_id, user = app.path_id(request, "persona_id"), await callers.require_user(request)
    await personas.delete(managing_as(user), persona_id)
    return app.nothing()


async def set_persona_secret(request: Request) -> Response:
    """Set the secret that the persona sends with its calls."""
    persona_id, user = app.path_id(request, "persona_id"), await callers.require_user(request)
    given = await request_body.read(request, GivenSecret)
    await personas.set_secret(managing_as(user), persona_id, given)
    return app.nothing()


async def remove_persona_secret(request: Request) -> Response:
    """Remove the secret that the persona sends."""
    persona_id, user = app.path_id(request, "persona_id"), await callers.require_user(request)
    await personas.remove_secret(managing_as(user), persona_id)
    return app.nothing()


async def rotate_callback_secret(request: Request) -> NewSecret:
    """Generate the secret of asynchronous answers."""
    persona_id, user = app.path_id(request, "persona_id"), await callers.require_user(request)
    rotation = await request_body.read_optional(request, Rotation)
    return await personas.rotate_callback_secret(managing_as(user), persona_id, rotation)


async def remove_callback_secret(request: Request) -> Response:
    """Refuse asynchronous answers."""
    persona_id, user = app.path_id(request, "persona_id"), await callers.require_user(request)
    await personas.remove_callback_secret(managing_as(user), persona_id)
    return app.nothing()


async def create_template(request: Request) -> Response:
    """Create a session template."""
    workspace_id, user = app.path_id(request, "workspace_id"), await callers.require_user(request)
    new = await request_body.read(request, session_templates.NewTemplate)
    return app.created(await session_templates.create(managing_as(user), workspace_id, new))


async def list_templates(request: Request) -> Page[Template]:
    """A workspace's session templates."""
    user = await callers.require_user(request)
    workspace_id = app.path_id(request, "workspace_id")
    return await session_templates.list_all(
        queries.reading_as(user), workspace_id, request_body.read_query(request, PageRequest)
    )


async def read_template(request: Request) -> Template:
    """A session template."""
    user = await callers.require_user(request)
    return await session_templates.read(queries.reading_as(user), app.path_id(request, "template_id"))


async def change_template(request: Request) -> Template:
    """Change a session template."""
    template_id, user = app.path_id(request, "template_id"), await callers.require_user(request)
    changes = await request_body.read(request, session_templates.TemplateChanges)
    return await session_templates.change(managing_as(user), template_id, changes)


async def remove_template(request: Request) -> Response:
    """Remove a session template."""
    template_id, user = app.path_id(request, "template_id"), await callers.require_user(request)
    await session_templates.remove(managing_as(user), template_id)
    return app.nothing()


_HANDLERS = (
    create_workspace, list_workspaces, read_workspace, change_workspace, delete_workspace,
    set_allowed_networks, list_turn_errors,
    list_members, set_member, remove_member,
    invite_member, list_invitations, withdraw_invitation, list_own_invitations, accept_invitation,
    list_transitions, add_transition, remove_transition,
    create_space, list_spaces, read_space, change_space, delete_space, rotate_hmac_secret, remove_hmac_secret,
    create_persona, list_personas, read_persona, change_persona, delete_persona,
    set_persona_secret, remove_persona_secret, rotate_callback_secret, remove_callback_secret,
    create_template, list_templates, read_template, change_template, remove_template,
)  # fmt: skip

# A handler has the name of its route.
_serve = app.function("workspaces", {handler.__name__: handler for handler in _HANDLERS})


@functions_framework.aio.http
async def workspaces(request: Request) -> Response:
    """The function's entry point."""
    return await _serve(request)
