// What a form shows of an object, and the object that it makes.

// The value at a dotted name, such as "config.model".
export const at = (object, name) => name.split(".").reduce((value, key) => value?.[key], object);

// What stands in a field.
export function shown({ name, type, initial, show }, object) {
  if (show && object) return show(at(object, name));
  const value = at(object, name) ?? (object ? undefined : initial);
  if (type === "checkbox") return Boolean(value ?? initial);
  if (type === "many") return value ?? [];
  if (value === undefined || value === null) return "";
  if (type === "lines") return value.join("\n");
  if (type === "json") return Object.keys(value).length ? JSON.stringify(value, null, 2) : "";
  return String(value);
}

// The body of the fields' values; what is left empty is absent, null where that clears it, or empty. Members of `original` that
// have no field stay, where the whole is replaced. Throws {field} for JSON that is none.
export function bodyOf(fields, values, original) {
  const body = {};
  for (const field of fields) put(body, field.name, read(field, values[field.name]), original);
  return body;
}

function read({ name, type, empty }, value) {
  if (type === "checkbox" || type === "many") return value;
  if (type === "lines")
    return value
      .split("\n")
      .map((line) => line.trim())
      .filter(Boolean);
  if (value.trim() === "") return type === "json" ? {} : empty;
  if (type === "number") return Number(value);
  if (type !== "json") return value;
  try {
    return JSON.parse(value);
  } catch {
    throw Object.assign(new Error(name), { field: name });
  }
}

function put(body, name, value, original) {
  const [first, ...rest] = name.split(".");
  if (rest.length === 0) {
    if (value === undefined) delete body[first];
    else body[first] = value;
    return;
  }
  // How a secret is sent is a word, or an object with the name of a header.
  const former = original?.[first];
  if (typeof body[first] !== "object") body[first] = typeof former === "object" ? { ...former } : {};
  put(body[first], rest.join("."), value, original?.[first]);
}
