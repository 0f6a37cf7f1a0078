// A chart with its text alternative, and its data as a table and as CSV.

import { useId, useState } from "preact/hooks";

import { t } from "../language.js";

// `columns`: [{name, show?, isNumber?}]; `rows`: lists of as many values, undefined where there is none. `summary` is what the
// chart says, for those who do not see it. Without children the card is its table.
export function Card({ name, title, about, summary, columns, rows, children }) {
  const [isTable, setTable] = useState(false);
  const id = useId();
  const showsTable = isTable || !children;
  return (
    <section class="card-of" aria-labelledby={id} data-card={name}>
      <header>
        <h2 id={id}>{title}</h2>
        <div class="actions">
          {children && (
            <button type="button" class="plain" aria-pressed={isTable} onClick={() => setTable(!isTable)}>
              {t("analytics.table")}
            </button>
          )}
          <button type="button" class="plain" disabled={rows.length === 0} onClick={() => save(`${name}.csv`, columns, rows)}>
            CSV
          </button>
        </div>
      </header>
      <p class="note">{about}</p>
      {rows.length === 0 && <p class="note">{t("analytics.none")}</p>}
      {rows.length > 0 && !showsTable && <figure role="img" aria-label={summary}>{children}</figure>}
      {rows.length > 0 && showsTable && <Table label={title} columns={columns} rows={rows} />}
    </section>
  );
}

function Table({ label, columns, rows }) {
  return (
    <div class="table" tabIndex={0} role="group" aria-label={label}>
      <table>
        <thead>
          <tr>{columns.map(({ name }) => <th key={name} scope="col">{name}</th>)}</tr>
        </thead>
        <tbody>
          {rows.map((row, place) => (
            <tr key={place}>
              {row.map((value, column) => {
                const { show = String } = columns[column];
                const told = value === undefined ? "–" : show(value);
                return column === 0 ? <th key={column} scope="row">{told}</th> : <td key={column}>{told}</td>;
              })}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

// The values as they are, which programs read; only the names of the columns are in the page's language.
export function csv(columns, rows) {
  return [columns.map(({ name }) => name), ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

function cell(value) {
  if (value === undefined || value === null) return "";
  if (typeof value === "number") return String(value);
  // A spreadsheet would run a name that begins like a formula.
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function save(name, columns, rows) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(["\ufeff", csv(columns, rows)], { type: "text/csv" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
