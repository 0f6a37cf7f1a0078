// A document as it is, indented if it is JSON.

export function Json({ label, value }) {
  return (
    <section class="part" aria-label={label}>
      <h3>{label}</h3>
      <pre tabIndex={0} role="group" aria-label={label}>
        <code dir="ltr">{written(value)}</code>
      </pre>
    </section>
  );
}

function written(value) {
  if (typeof value !== "string") return JSON.stringify(value, null, 2);
  try {
    return JSON.stringify(JSON.parse(value), null, 2);
  } catch {
    return value;
  }
}
