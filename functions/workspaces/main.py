"""workspaces: setting up a workspace, its members, spaces and personas, and replacing their secrets."""

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from lib import auth, bodies, db, http, members, responders, spaces, templates, transitions
from lib import workspaces as tenants
from lib.management import GivenSecret, NewSecret, Page, Paging, Rotation, managing_as
from lib.members import Member
from lib.responders import Persona
from lib.spaces import Space
from lib.templates import Template
from lib.workspaces import Workspace


async def create_workspace(request: Request) -> Response:
    """Make a workspace with its first owner; for operators."""
    user = await auth.require_user(request)
    new = await bodies.read(request, tenants.NewWorkspace)
    return http.created(await tenants.create(managing_as(user), new))


async def list_workspaces(request: Request) -> Page[Workspace]:
    """The workspaces that the user is a member of."""
    user = await auth.require_user(request)
    return await tenants.list_all(db.reading_as(user), bodies.read_query(request, Paging))


async def read_workspace(request: Request) -> Workspace:
    """One of them."""
    user = await auth.require_user(request)
    return await tenants.read(db.reading_as(user), http.path_id(request, "workspace_id"))


async def change_workspace(request: Request) -> Workspace:
    """Change what the body names."""
    workspace_id, user = http.path_id(request, "workspace_id"), await auth.require_user(request)
    changes = await bodies.read(request, tenants.WorkspaceChanges)
    return await tenants.change(managing_as(user), workspace_id, changes)


async def delete_workspace(request: Request) -> Response:
    """Delete the workspace whose name the query repeats, with everything in it."""
    workspace_id, user = http.path_id(request, "workspace_id"), await auth.require_user(request)
    await tenants.delete(managing_as(user), workspace_id, bodies.read_query(request, tenants.Confirmation))
    return http.nothing()


async def list_members(request: Request) -> Page[Member]:
    """A workspace's members."""
    user = await auth.require_user(request)
    workspace_id = http.path_id(request, "workspace_id")
    return await members.list_all(db.reading_as(user), workspace_id, bodies.read_query(request, Paging))


async def add_member(request: Request) -> Response:
    """Make the user behind an email a member."""
    workspace_id, user = http.path_id(request, "workspace_id"), await auth.require_user(request)
    invitation = await bodies.read(request, members.Invitation)
    return http.created(await members.add(managing_as(user), workspace_id, invitation))


async def set_member(request: Request) -> Member:
    """Give a user a role."""
    workspace_id, user_id = http.path_id(request, "workspace_id"), http.path_id(request, "user_id")
    user = await auth.require_user(request)
    grant = await bodies.read(request, members.Grant)
    return await members.put(managing_as(user), workspace_id, user_id, grant)


async def remove_member(request: Request) -> Response:
    """Take a member out; everybody may leave."""
    workspace_id, user_id = http.path_id(request, "workspace_id"), http.path_id(request, "user_id")
    user = await auth.require_user(request)
    await members.remove(managing_as(user), workspace_id, user_id)
    return http.nothing()


async def list_transitions(request: Request) -> Page[transitions.Transition]:
    """The steps of a workspace's workflows."""
    user = await auth.require_user(request)
    workspace_id = http.path_id(request, "workspace_id")
    return await transitions.list_all(db.reading_as(user), workspace_id, bodies.read_query(request, Paging))


async def add_transition(request: Request) -> Response | transitions.AddedTransition:
    """Let a step follow another."""
    workspace_id, user = http.path_id(request, "workspace_id"), await auth.require_user(request)
    new = await bodies.read(request, transitions.NewTransition)
    added = await transitions.add(managing_as(user), workspace_id, new)
    return http.created(added) if added.created else added


async def remove_transition(request: Request) -> Response:
    """Let it follow no longer."""
    workspace_id, transition_id = http.path_id(request, "workspace_id"), http.path_id(request, "transition_id")
    user = await auth.require_user(request)
    await transitions.remove(managing_as(user), workspace_id, transition_id)
    return http.nothing()


async def create_space(request: Request) -> Response:
    """Add a space."""
    workspace_id, user = http.path_id(request, "workspace_id"), await auth.require_user(request)
    new = await bodies.read(request, spaces.NewSpace)
    return http.created(await spaces.create(managing_as(user), workspace_id, new))


async def list_spaces(request: Request) -> Page[Space]:
    """A workspace's spaces."""
    user = await auth.require_user(request)
    workspace_id = http.path_id(request, "workspace_id")
    return await spaces.list_all(db.reading_as(user), workspace_id, bodies.read_query(request, Paging))


async def read_space(request: Request) -> Space:
    """One space."""
    user = await auth.require_user(request)
    return await spaces.read(db.reading_as(user), http.path_id(request, "space_id"))


async def change_space(request: Request) -> Space:
    """Change what the body names."""
    space_id, user = http.path_id(request, "space_id"), await auth.require_user(request)
    changes = await bodies.read(request, spaces.SpaceChanges)
    return await spaces.change(managing_as(user), space_id, changes)


async def delete_space(request: Request) -> Response:
    """Delete a space where nobody is talking."""
    space_id, user = http.path_id(request, "space_id"), await auth.require_user(request)
    await spaces.delete(managing_as(user), space_id)
    return http.nothing()


async def rotate_hmac_secret(request: Request) -> NewSecret:
    """Make the secret under which emails are signed anew."""
    space_id, user = http.path_id(request, "space_id"), await auth.require_user(request)
    rotation = Rotation() if bodies.is_missing(request) else await bodies.read(request, Rotation)
    return await spaces.rotate_hmac_secret(managing_as(user), space_id, rotation)


async def remove_hmac_secret(request: Request) -> Response:
    """Believe no signature any more."""
    space_id, user = http.path_id(request, "space_id"), await auth.require_user(request)
    await spaces.remove_hmac_secret(managing_as(user), space_id)
    return http.nothing()


async def create_persona(request: Request) -> Response:
    """Add a persona."""
    workspace_id, user = http.path_id(request, "workspace_id"), await auth.require_user(request)
    new = await bodies.read(request, responders.NewPersona)
    return http.created(await responders.create(managing_as(user), workspace_id, new))


async def list_personas(request: Request) -> Page[Persona]:
    """A workspace's personas."""
    user = await auth.require_user(request)
    workspace_id = http.path_id(request, "workspace_id")
    return await responders.list_all(db.reading_as(user), workspace_id, bodies.read_query(request, Paging))


async def read_persona(request: Request) -> Persona:
    """One persona."""
    user = await auth.require_user(request)
    return await responders.read(db.reading_as(user), http.path_id(request, "persona_id"))


async def change_persona(request: Request) -> Persona:
    """Change what the body names."""
    persona_id, user = http.path_id(request, "persona_id"), await auth.require_user(request)
    changes = await bodies.read(request, responders.PersonaChanges)
    return await responders.change(db.reading_as(user), managing_as(user), persona_id, changes)


async def delete_persona(request: Request) -> Response:
    """Delete a persona that nothing uses."""
    persona_id, user = http.path_id(request, "persona_id"), await auth.require_user(request)
    await responders.delete(managing_as(user), persona_id)
    return http.nothing()


async def set_persona_secret(request: Request) -> Response:
    """Keep what the persona sends with its calls."""
    persona_id, user = http.path_id(request, "persona_id"), await auth.require_user(request)
    given = await bodies.read(request, GivenSecret)
    await responders.set_secret(managing_as(user), persona_id, given)
    return http.nothing()


async def remove_persona_secret(request: Request) -> Response:
    """Send no secret any more."""
    persona_id, user = http.path_id(request, "persona_id"), await auth.require_user(request)
    await responders.remove_secret(managing_as(user), persona_id)
    return http.nothing()


async def rotate_callback_secret(request: Request) -> NewSecret:
    """Make the secret of asynchronous answers anew."""
    persona_id, user = http.path_id(request, "persona_id"), await auth.require_user(request)
    rotation = Rotation() if bodies.is_missing(request) else await bodies.read(request, Rotation)
    return await responders.rotate_callback_secret(managing_as(user), persona_id, rotation)


async def remove_callback_secret(request: Request) -> Response:
    """Take no asynchronous answer any more."""
    persona_id, user = http.path_id(request, "persona_id"), await auth.require_user(request)
    await responders.remove_callback_secret(managing_as(user), persona_id)
    return http.nothing()


async def create_template(request: Request) -> Response:
    """Add a session template."""
    workspace_id, user = http.path_id(request, "workspace_id"), await auth.require_user(request)
    new = await bodies.read(request, templates.NewTemplate)
    return http.created(await templates.create(managing_as(user), workspace_id, new))


async def list_templates(request: Request) -> Page[Template]:
    """A workspace's session templates."""
    user = await auth.require_user(request)
    workspace_id = http.path_id(request, "workspace_id")
    return await templates.list_all(db.reading_as(user), workspace_id, bodies.read_query(request, Paging))


async def read_template(request: Request) -> Template:
    """One session template."""
    user = await auth.require_user(request)
    return await templates.read(db.reading_as(user), http.path_id(request, "template_id"))


async def change_template(request: Request) -> Template:
    """Change what the body names."""
    template_id, user = http.path_id(request, "template_id"), await auth.require_user(request)
    changes = await bodies.read(request, templates.TemplateChanges)
    return await templates.change(managing_as(user), template_id, changes)


async def remove_template(request: Request) -> Response:
    """Start no more sessions by it."""
    template_id, user = http.path_id(request, "template_id"), await auth.require_user(request)
    await templates.remove(managing_as(user), template_id)
    return http.nothing()


_HANDLERS = (
    create_workspace, list_workspaces, read_workspace, change_workspace, delete_workspace,
    list_members, add_member, set_member, remove_member,
    list_transitions, add_transition, remove_transition,
    create_space, list_spaces, read_space, change_space, delete_space, rotate_hmac_secret, remove_hmac_secret,
    create_persona, list_personas, read_persona, change_persona, delete_persona,
    set_persona_secret, remove_persona_secret, rotate_callback_secret, remove_callback_secret,
    create_template, list_templates, read_template, change_template, remove_template,
)  # fmt: skip

# The routes are named after their handlers.
_serve = http.function("workspaces", {handler.__name__: handler for handler in _HANDLERS})


@functions_framework.aio.http
async def workspaces(request: Request) -> Response:
    """The function's entry point."""
    return await _serve(request)
