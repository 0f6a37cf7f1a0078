import analytics from "./analytics.js";
import common from "./common.js";
import contacts from "./contacts.js";
import inbox from "./inbox.js";
import sessions from "./sessions.js";
import settings from "./settings.js";
import operations from "./operations.js";

export default { ...common, ...inbox, ...sessions, ...contacts, ...analytics, ...operations, ...settings };
