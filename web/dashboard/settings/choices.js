// Objects to choose from in a form.

import { get } from "../api.js";
import { useData } from "../data.js";
import { workspace } from "../workspace.js";

// [[id, name]] of the workspace's objects of a kind; none until they are there.
export function useChoices(kind) {
  const path = `/workspaces/${workspace.value.id}/${kind}`;
  const { data } = useData((signal) => get(path, { limit: 200 }, signal), [path]);
  return (data?.items ?? []).map(({ id, name }) => [id, name]);
}
