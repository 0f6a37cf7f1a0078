// JSON of our own values, without toJSON: old libraries give arrays and dates one of their own (Prototype.js before 1.7).

export function encode(value) {
  if (value === null || typeof value !== "object") return JSON.stringify(value) ?? "null";
  let text = "";
  if (Array.isArray(value)) {
    for (const member of value) text += `${text && ","}${encode(member)}`;
    return `[${text}]`;
  }
  for (const name of Object.keys(value)) {
    if (value[name] !== undefined) text += `${text && ","}${JSON.stringify(name)}:${encode(value[name])}`;
  }
  return `{${text}}`;
}
