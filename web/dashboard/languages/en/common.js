export default {
  "nav.inbox": "Inbox",
  "nav.sessions": "Sessions",
  "nav.contacts": "Contacts",
  "nav.analytics": "Analytics",
  "nav.work": "Work",
  "nav.settings": "Settings",
  "nav.views": "Views",
  "nav.workspace": "Workspace",
  "nav.sign_out": "Sign out",
  "nav.skip": "Skip to the content",

  "sign_in.email": "Email",
  "sign_in.password": "Password",
  "sign_in.submit": "Sign in",
  "sign_in.refused": "Email or password is wrong.",

  "welcome.title": "Welcome",
  "welcome.signed_in": "You are signed in as {email}, in no workspace yet.",
  "welcome.invited": "You are invited to {workspace} as {role}.",
  "welcome.accept": "Join",
  "welcome.ask": "Ask an owner of your team's workspace to invite this address.",

  "role.owner": "owner",
  "role.admin": "admin",
  "role.agent": "agent",

  "action.retry": "Try again",
  "action.close": "Close",
  "action.cancel": "Cancel",
  "action.save": "Save",
  "action.delete": "Delete",
  "action.undo": "Undo",
  "action.export_csv": "Export as CSV",
  "action.back": "Back",

  "keys.title": "Keys",
  "keys.list": "This list",

  "state.loading": "Loading …",
  "state.offline": "You are offline. What you see may be old; it is updated when the connection is back.",
  "state.unreachable": "The server cannot be reached. Are you online?",
  "state.broken": "Something went wrong in this page. Reload it.",

  "error.forbidden": "Your role does not allow this.",
  "error.rate_limited": "Too many requests. Try again in a moment.",

  "status.active": "active",
  "status.paused": "paused",
  "status.completed": "completed",
  "status.failed": "failed",
  "status.timeout": "timed out",
  "status.cancelled": "cancelled",
  "status.archived": "archived",

  "contact.unnamed": "Unnamed contact",
  "proof.verified": "proven",
  "proof.asserted": "not proven",
};
