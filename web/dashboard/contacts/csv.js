// Contacts of a CSV file, read as `switchboard import` reads them: usual column names are recognised.

export const FIELDS = [
  "external_id", "email", "phone", "telegram", "whatsapp", "discord", "omi", "first_name", "last_name", "name", "title", "source",
  "tags", "created_at",
];
const IDENTITIES = ["email", "phone", "telegram", "whatsapp", "discord", "omi"];
const USUAL = {
  external_id: "id contactid externalid customerid userid uid recordid clientid",
  email: "email emailaddress mail primaryemail workemail emails",
  phone: "phone phonenumber mobile mobilephone mobilenumber tel telephone cell cellphone primaryphone",
  telegram: "telegram telegramid",
  whatsapp: "whatsapp whatsappnumber",
  discord: "discord discordid",
  first_name: "firstname givenname forename vorname prenom",
  last_name: "lastname surname familyname nachname nom",
  name: "name fullname displayname contactname",
  source: "source leadsource origin",
  tags: "tags labels segments tag",
  created_at: "createdat created createdate creationdate signedupat signupdate datecreated",
};
const BY_NAME = new Map(Object.entries(USUAL).flatMap(([field, names]) => names.split(" ").map((name) => [name, field])));

// The rows of a text, {line, cells}, without empty ones; the first one is the header.
export function rowsOf(text) {
  const plain = text.replace(/^\uFEFF/, "");
  const head = plain.slice(0, plain.search(/\r?\n|$/));
  const delimiter = [",", ";", "\t", "|"].toSorted((one, other) => head.split(other).length - head.split(one).length)[0];
  const rows = [];
  let cells = [];
  let cell = "";
  let isQuoted = false;
  let line = 1;
  let start = 1;
  const endRow = () => {
    cells.push(cell);
    if (cells.some((each) => each.trim())) rows.push({ line: start, cells });
    [cells, cell, start] = [[], "", line];
  };
  for (let at = 0; at < plain.length; at += 1) {
    const char = plain[at];
    if (char === "\n") line += 1;
    if (isQuoted) {
      if (char !== '"') cell += char;
      else if (plain[at + 1] === '"') cell += plain[(at += 1)];
      else isQuoted = false;
    } else if (char === '"' && cell === "") isQuoted = true;
    else if (char === delimiter) {
      cells.push(cell);
      cell = "";
    } else if (char === "\n") endRow();
    else if (char !== "\r" || plain[at + 1] !== "\n") cell += char;
  }
  endRow();
  return rows;
}

// The field of each column: that of its usual name, else an attribute of its own name.
export function guess(header) {
  const taken = new Set();
  return header.map((column) => {
    const usual = BY_NAME.get(column.toLowerCase().replace(/[^a-z]/g, ""));
    const field = usual && !taken.has(usual) ? usual : `attributes.${column.trim().slice(0, 100)}`;
    taken.add(field);
    return field;
  });
}

// A row as an item of an import: {kind, line, document}, with a `fault` if it cannot be read.
export function itemOf({ line, cells }, fields) {
  if (cells.length > fields.length) return { kind: "contact", line, document: {}, fault: "cells" };
  const given = {};
  cells.forEach((cell, place) => {
    if (cell.trim() && fields[place] !== "-") given[fields[place]] = unescaped(cell.trim());
  });
  const identities = IDENTITIES.filter((kind) => kind in given).map((kind) => `${kind}:${given[kind]}`);
  const id = given.external_id ?? identities[0];
  if (!id) return { kind: "contact", line, document: {}, fault: "id" };
  const [first, ...rest] = (given.name ?? "").split(/\s+/);
  const document = {
    external_id: id.slice(0, 200),
    first_name: given.first_name ?? (first || undefined),
    last_name: given.last_name ?? (rest.join(" ") || undefined),
    title: given.title,
    source: given.source,
    identities,
    tags: (given.tags ?? "").split(/[,;|]/).map((tag) => tag.trim()).filter(Boolean),
    created_at: moment(given.created_at),
    attributes: Object.fromEntries(
      Object.entries(given).filter(([field]) => field.startsWith("attributes.")).map(([field, cell]) => [field.slice(11), cell]),
    ),
  };
  return { kind: "contact", line, document };
}

// A cell without the apostrophe that keeps a spreadsheet from running it.
const unescaped = (cell) => (/^'[=+\-@]/.test(cell) ? cell.slice(1) : cell);

function moment(text) {
  if (!text) return undefined;
  // A time without a zone is in UTC.
  const isZoned = /(Z|[+-]\d\d:?\d\d)$/.test(text) || !/\d:\d/.test(text);
  const time = /^\d{9,}$/.test(text) ? new Date(Number(text) * 1_000) : new Date(isZoned ? text : `${text.replace(" ", "T")}Z`);
  return Number.isNaN(time.getTime()) ? undefined : time.toISOString();
}
