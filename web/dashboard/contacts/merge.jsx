// Merging a contact into another: first what would move and what collides.

import { useState } from "preact/hooks";

import { call, get } from "../api.js";
import { useData } from "../data.js";
import { has, number, t } from "../language.js";
import { Dialog } from "../parts/dialog.jsx";
import { nameOfContact, nameOfPlatform } from "../parts/names.js";
import { SearchField } from "../parts/search_field.jsx";
import { Failed, Loading } from "../parts/states.jsx";
import { complain, say } from "../parts/toasts.jsx";
import { workspace } from "../workspace.js";

// Undo the merge of a contact; whether it was.
export async function unmerge(id) {
  try {
    await call("POST", `/contacts/${id}/unmerge`);
    say(t("merge.undone"));
    return true;
  } catch (failure) {
    complain(failure);
    return false;
  }
}

// `into`: the merge target; without it the member looks for one. `onDone` is told the target's id, also after an undo.
export function MergeReview({ contact, into: given, onClose, onDone }) {
  const [pair, setPair] = useState({ from: contact, into: given });
  const [failure, setFailure] = useState(null);
  const [isBusy, setBusy] = useState(false);
  const { from, into } = pair;

  async function merge() {
    setBusy(true);
    try {
      await call("POST", `/contacts/${from.id}/merge`, { body: { into: into.id } });
      say(t("merge.done"), { undo: () => unmerge(from.id).then((is) => is && onDone(from.id)) });
      onClose();
      onDone(into.id);
    } catch (problem) {
      setFailure(problem);
      setBusy(false);
    }
  }

  return (
    <Dialog title={t("merge.title")} onClose={onClose} class="wide">
      {!into && <Search contact={contact} onChoose={(found) => setPair({ from: contact, into: found })} />}
      {into && (
        <>
          <p class="pair">
            <span><span class="note">{t("merge.from")}</span> <strong dir="auto">{nameOfContact(from)}</strong></span>
            <span><span class="note">{t("merge.into")}</span> <strong dir="auto">{nameOfContact(into)}</strong></span>
            <button type="button" onClick={() => setPair({ from: into, into: from })}>{t("merge.swap")}</button>
          </p>
          <Preview key={from.id} from={from.id} into={into.id} />
        </>
      )}
      {failure && <Failed failure={failure} />}
      <footer>
        <button type="button" onClick={onClose}>{t("action.cancel")}</button>
        {into && <button type="button" class="primary" disabled={isBusy} onClick={merge}>{t("merge.run")}</button>}
      </footer>
    </Dialog>
  );
}

function Search({ contact, onChoose }) {
  const [text, setText] = useState("");
  const { data, failure } = useData(async (signal) => {
    if (!text) return [];
    const by = text.includes("@") ? { email: text } : { text };
    const { items } = await get("/contacts", { ...by, workspace_id: workspace.value.id, kind: contact.kind, limit: 20 }, signal);
    return items.filter(({ id }) => id !== contact.id);
  }, [text]);
  return (
    <>
      <SearchField label={t("merge.search")} value={text} onSearch={setText} />
      {failure && <Failed failure={failure} />}
      {text && data?.length === 0 && <p class="note">{t("contacts.empty")}</p>}
      <ul class="choices">
        {data?.map((each) => (
          <li key={each.id}>
            <button type="button" onClick={() => onChoose(each)}>
              <span dir="auto">{nameOfContact(each)}</span> <span class="note">{each.email}</span>
            </button>
          </li>
        ))}
      </ul>
    </>
  );
}

function Preview({ from, into }) {
  const { data, failure } = useData(async () => {
    const answer = await call("POST", `/contacts/${from}/merge`, { body: { into, preview: true } });
    return answer.preview;
  }, [from, into]);
  if (failure) return <Failed failure={failure} />;
  if (!data) return <Loading />;
  const { moves, identities, takes_over, collides } = data;
  const moved = Object.entries(moves).filter(([, count]) => count > 0);
  const filled = Object.keys(takes_over).filter((name) => name !== "session_id");
  return (
    <div class="preview">
      <h3>{t("merge.moves")}</h3>
      {moved.length === 0 && <p class="note">{t("merge.nothing")}</p>}
      <ul>
        {moved.map(([name, count]) => (
          <li key={name}>{t(`merge.${name}`)}: {number(count)}</li>
        ))}
      </ul>
      <p class="note">{identities.map(({ kind, value }) => `${nameOfPlatform(kind)} ${value}`).join(" · ")}</p>
      {filled.length > 0 && (
        <p>
          {t("merge.takes_over")}{" "}
          {filled.map((name) => (has(`contacts.${name}`) ? t(`contacts.${name}`) : t("merge.attributes"))).join(", ")}
        </p>
      )}
      <h3>{t("merge.collides")}</h3>
      <ul>{collisions(collides).map((words) => <li key={words} dir="auto">{words}</li>)}</ul>
    </div>
  );
}

function collisions({ name, session, threads = [], attributes = [], tags, groups }) {
  const found = [
    name && t("merge.two_names", { kept: name.kept ?? "", other: name.other ?? "" }),
    session && t("merge.two_sessions"),
    threads.length > 0 && t("merge.two_threads", { count: threads.length }),
    attributes.length > 0 && t("merge.two_values", { names: attributes.join(", ") }),
    tags > 0 && t("merge.same_tags", { count: tags }),
    groups > 0 && t("merge.same_groups", { count: groups }),
  ].filter(Boolean);
  return found.length ? found : [t("merge.no_collision")];
}
