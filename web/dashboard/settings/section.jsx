// A section whose objects are listed, made, changed and deleted in the same way.

import { useState } from "preact/hooks";
import { Link } from "wouter-preact";

import { call, Failure, get, getAll } from "../api.js";
import { usePages, useData } from "../data.js";
import { t } from "../language.js";
import { Confirm } from "../parts/dialog.jsx";
import { Empty, Failed, Loading } from "../parts/states.jsx";
import { complain, say } from "../parts/toasts.jsx";
import { go, to } from "../place.js";
import { manages, workspace } from "../workspace.js";
import { Form } from "./form.jsx";

// `name` is the section's in the address and of its list route; `path` that of one object. `row` shows an object in the list,
// `fields(object)` describes its form, without an object that of a new one, and `children(object, changed)` follow the form. An object
// without a route to read it `isListed`: it is read from the list.
export function Section({ name, path, id, isListed, row, fields, children, mayDelete = manages.value, made, columns }) {
  if (id === "new") return manages.value ? <New {...{ name, fields, made }} /> : null;
  if (id) return <One {...{ name, path, id, isListed, fields, children, mayDelete }} />;
  return <List {...{ name, row, columns }} />;
}

const listPath = (name) => `/workspaces/${workspace.value.id}/${name}`;

export function Title({ name, children }) {
  return (
    <header class="tools">
      <h2>{t(`settings.${name}`)}</h2>
      {children}
    </header>
  );
}

function List({ name, row, columns }) {
  const pages = usePages(listPath(name), { limit: 100 });
  return (
    <>
      <Title name={name}>
        {manages.value && (
          <Link class="button" href={to(`/settings/${name}/new`)}>
            {t("settings.new")}
          </Link>
        )}
      </Title>
      <p class="note">{t(`settings.about.${name}`)}</p>
      <Listed
        pages={pages}
        columns={columns}
        row={(item) => row(item, <Link href={to(`/settings/${name}/${item.id}`)}>{item.name ?? item.url}</Link>)}
        label={t(`settings.${name}`)}
      />
    </>
  );
}

// The items of pages as a table; `row` gives the cells of one.
export function Listed({ pages, columns, row, label, empty = t("settings.none") }) {
  return (
    <>
      {pages.failure && <Failed failure={pages.failure} retry={pages.reload} />}
      {!pages.items && !pages.failure && <Loading />}
      {pages.items?.length === 0 && <Empty>{empty}</Empty>}
      {pages.items?.length > 0 && (
        <div class="table start" tabIndex={0} role="group" aria-label={label}>
          <table>
            <thead>
              <tr>
                {columns.map((each, place) => (
                  <th key={each} scope="col">
                    {each ? (
                      t(`settings.field.${each}`)
                    ) : (
                      <span class="hidden">
                        {t("settings.actions")}
                        {place}
                      </span>
                    )}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {pages.items.map((item) => (
                <tr key={item.id ?? item.user_id}>
                  {row(item).map((cell, place) => (
                    <td key={place}>{cell}</td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {pages.hasMore && (
        <button type="button" onClick={pages.more}>
          {t("settings.more")}
        </button>
      )}
    </>
  );
}

function New({ name, fields, made }) {
  async function submit(body) {
    const object = await call("POST", listPath(name), { body });
    say(t("settings.made"));
    if (made?.(object) !== false) go(`/settings/${name}/${object.id}`);
  }
  return (
    <>
      <Title name={name}>
        <Back name={name} />
      </Title>
      <Form fields={fields()} submit={submit} action={t("settings.create")} label={t("settings.create")} />
    </>
  );
}

async function find(name, id, signal) {
  const found = (await getAll(listPath(name), {}, signal)).find((each) => each.id === id);
  if (!found) throw new Failure(404, { title: t("settings.none") });
  return found;
}

const Back = ({ name }) => <Link href={to(`/settings/${name}`)}>{t("action.back")}</Link>;

function One({ name, path, id, isListed, fields, children, mayDelete }) {
  const one = useData((signal) => (isListed ? find(name, id, signal) : get(`${path}/${id}`, {}, signal)), [id]);
  const [isAsking, setAsking] = useState(false);
  const { data } = one;

  async function submit(body) {
    const changed = await call("PATCH", `${path}/${id}`, { body });
    one.setData(() => changed);
    say(t("settings.saved"));
  }

  async function remove() {
    setAsking(false);
    try {
      await call("DELETE", `${path}/${id}`);
      say(t("settings.deleted"));
      go(`/settings/${name}`);
    } catch (failure) {
      complain(failure);
    }
  }

  return (
    <>
      <Title name={name}>
        <Back name={name} />
      </Title>
      {one.failure && <Failed failure={one.failure} retry={one.reload} />}
      {!data && !one.failure && <Loading />}
      {data && (
        <>
          <h3>{data.name ?? data.url}</h3>
          <Form fields={fields(data)} object={data} submit={submit} isReadOnly={!manages.value} label={data.name ?? data.url} />
          {children?.(data, one.reload, submit)}
          {mayDelete && (
            <p>
              <button type="button" class="danger" onClick={() => setAsking(true)}>
                {t("action.delete")}
              </button>
            </p>
          )}
          {isAsking && (
            <Confirm
              title={t("settings.delete.title", { name: data.name ?? data.url })}
              action={t("action.delete")}
              run={remove}
              onClose={() => setAsking(false)}
            >
              <p>{t("settings.delete.lead")}</p>
            </Confirm>
          )}
        </>
      )}
    </>
  );
}
