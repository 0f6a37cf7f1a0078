// Importing contacts and conversations of a file: its columns, a dry run, then the import with its progress.

import { useEffect, useRef, useState } from "preact/hooks";

import { save } from "../api.js";
import { has, number, t } from "../language.js";
import { Dialog } from "../parts/dialog.jsx";
import { nameOfPlatform } from "../parts/names.js";
import { explain } from "../parts/states.jsx";
import { FIELDS, guess, itemOf, rowsOf } from "./csv.js";
import { itemsOfLines, send } from "./importing.js";

const SHOWN = 50;
const STATUSES = ["created", "updated", "unchanged", "refused"];

export function Import({ onClose, onDone }) {
  const [file, setFile] = useState(null);
  const [fault, setFault] = useState(null);
  const [fields, setFields] = useState([]);
  const [run, setRun] = useState(null);
  const ending = useRef();
  useEffect(() => () => ending.current?.abort(), []);

  async function choose({ target }) {
    const [chosen] = target.files;
    setFile(null);
    setRun(null);
    setFault(null);
    if (!chosen) return;
    try {
      const text = new TextDecoder("utf-8", { fatal: true }).decode(await chosen.arrayBuffer());
      const isCsv = !/\.(jsonl|ndjson|json)$/i.test(chosen.name);
      const [header, ...rows] = isCsv ? rowsOf(text) : [null];
      if (isCsv && !rows.length) throw new Error("empty");
      setFile({ name: chosen.name, header: header?.cells, rows, lines: isCsv ? null : itemsOfLines(text) });
      setFields(header ? guess(header.cells) : []);
    } catch {
      setFault(t("import.unreadable"));
    }
  }

  async function start(isDry) {
    ending.current = new AbortController();
    const { signal } = ending.current;
    const items = file.lines ?? file.rows.map((row) => itemOf(row, fields));
    const now = { isDry, total: items.length, done: 0, counts: {}, refused: [], isRunning: true };
    const show = () => setRun({ ...now });
    const onOutcome = ({ item, status, code, reason, dropped }) => {
      now.done += 1;
      now.counts[status] = (now.counts[status] ?? 0) + 1;
      if (status === "refused" || dropped?.length) {
        const left = dropped?.length && { code: "left_out", reason: t("import.left_out", { fields: dropped.map(nameOfField).join(", ") }) };
        now.refused.push({ line: item.line, kind: item.kind, external_id: item.document.external_id, code, reason, ...left });
      }
      if (now.done % 100 === 0) show();
    };
    setFault(null);
    show();
    try {
      await send(items, { source: file.lines ? "jsonl" : "csv", isDry, signal, onOutcome });
    } catch (failure) {
      if (failure.name === "AbortError") return;
      setFault(explain(failure));
    }
    now.isRunning = false;
    now.isDone = now.done === now.total;
    show();
    if (!isDry) onDone();
  }

  const isBusy = run?.isRunning;
  return (
    <Dialog title={t("import.title")} onClose={onClose} class="wide">
      <p class="note">{t("import.means")}</p>
      <label>{t("import.file")}<input type="file" accept=".csv,.txt,.jsonl,.ndjson,.json,text/csv" disabled={isBusy} onChange={choose} /></label>
      {file?.header && (
        <Mapping file={file} fields={fields} isDisabled={isBusy}
                 change={(place, field) => (setRun(null), setFields(fields.with(place, field)))} />
      )}
      {file?.lines && <p>{t("import.items", { count: file.lines.length })}</p>}
      {run && <Outcome run={run} name={file.name} />}
      {fault && <p class="failure" role="alert">{fault}</p>}
      <footer>
        <button type="button" onClick={onClose}>{t(run?.isDone && !run.isDry ? "action.close" : "action.cancel")}</button>
        {file && <button type="button" disabled={isBusy} onClick={() => start(true)}>{t("import.dry_run")}</button>}
        {file && (
          <button type="button" class="primary" disabled={isBusy || !run?.isDone || !run.isDry} onClick={() => start(false)}>
            {t("import.run")}
          </button>
        )}
      </footer>
    </Dialog>
  );
}

function Mapping({ file, fields, change, isDisabled }) {
  const sample = file.rows[0].cells;
  return (
    <div class="mapping" tabIndex={0} role="region" aria-label={t("import.columns")}>
      <p>{t("import.items", { count: file.rows.length })}</p>
      <table>
        <thead>
          <tr>{["column", "example", "field"].map((name) => <th key={name} scope="col">{t(`import.${name}`)}</th>)}</tr>
        </thead>
        <tbody>
          {file.header.map((column, place) => (
            <tr key={place}>
              <th scope="row" dir="auto">{column}</th>
              <td dir="auto">{sample[place]}</td>
              <td>
                <select aria-label={t("import.field_of", { column })} value={fields[place]} disabled={isDisabled}
                        onChange={({ target }) => change(place, target.value)}>
                  {FIELDS.map((field) => <option key={field} value={field}>{nameOfField(field)}</option>)}
                  <option value={`attributes.${column.trim().slice(0, 100)}`}>{t("field.attribute", { column })}</option>
                  <option value="-">{t("field.none")}</option>
                </select>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

const nameOfField = (field) => (has(`field.${field}`) ? t(`field.${field}`) : nameOfPlatform(field));

function Outcome({ run, name }) {
  const { isDry, total, done, counts, refused, isRunning } = run;
  const report = () => save(new Blob(refused.map((each) => `${JSON.stringify(each)}\n`)), `${name}.refused.jsonl`);
  return (
    <div class="outcome" role="status">
      {isRunning && <progress max={total} value={done} aria-label={t("import.title")} />}
      <p>
        <strong>{t(isRunning ? "import.running" : isDry ? "import.would" : "import.did")}</strong>{" "}
        {STATUSES.filter((each) => counts[each]).map((each) => `${t(`import.${each}`)}: ${number(counts[each])}`).join(" · ")}
      </p>
      {refused.length > 0 && (
        <>
          <table>
            <thead>
              <tr>{["line", "id", "reason"].map((each) => <th key={each} scope="col">{t(`import.${each}`)}</th>)}</tr>
            </thead>
            <tbody>
              {refused.slice(0, SHOWN).map((each, place) => (
                <tr key={place}><td>{number(each.line)}</td><td>{each.external_id}</td><td>{reasonInWords(each)}</td></tr>
              ))}
            </tbody>
          </table>
          {refused.length > SHOWN && <p class="note">{t("import.further", { count: refused.length - SHOWN })}</p>}
          <button type="button" onClick={report}>{t("import.report")}</button>
        </>
      )}
    </div>
  );
}

function reasonInWords({ code, reason }) {
  const name = code === "unreadable" ? `refused.${reason}` : `refused.${code}`;
  return has(name) ? t(name) : reason || code;
}
