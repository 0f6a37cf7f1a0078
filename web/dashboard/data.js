// What the views load.

import { useCallback, useLayoutEffect, useRef, useState } from "preact/hooks";

import { get } from "./api.js";

// What `load(signal)` returns, again when `inputs` change: {data, failure, isLoading, reload, setData}. While it loads again the
// earlier data stay.
export function useData(load, inputs) {
  const [state, setState] = useState({ isLoading: true });
  const round = useRef();
  const reload = useCallback(async () => {
    round.current?.abort();
    const { signal } = (round.current = new AbortController());
    setState((before) => ({ ...before, isLoading: true }));
    try {
      const data = await load(signal);
      if (!signal.aborted) setState({ data, isLoading: false });
    } catch (failure) {
      if (!signal.aborted) setState((before) => ({ ...before, failure, isLoading: false }));
    }
  }, inputs);
  // Not after the next frame, as other effects: the request need not wait for it.
  useLayoutEffect(() => {
    reload();
    return () => round.current?.abort();
  }, [reload]);
  const setData = useCallback((change) => setState((before) => ({ ...before, data: change(before.data) })), []);
  return { ...state, reload, setData };
}

// The pages of a list route: {items, hasMore, more, failure, isLoading, reload, setItems}. `more` loads the next page. Items
// without an id, such as those of a journey, are never the same.
export function usePages(path, query) {
  const key = JSON.stringify([path, query]);
  const { data, failure, isLoading, reload, setData } = useData((signal) => get(path, query, signal), [key]);
  const [next, setNext] = useState({});
  const busy = useRef(false);
  const cursor = data?.next_cursor;
  const more = useCallback(async () => {
    if (!cursor || busy.current) return;
    busy.current = true;
    setNext({ isLoading: true });
    try {
      const page = await get(path, { ...query, cursor });
      // A list that was read again meanwhile has other pages.
      setData((before) => (before.next_cursor === cursor ? { ...page, items: merged(before.items, page.items) } : before));
      setNext({});
    } catch (problem) {
      setNext({ failure: problem });
    }
    busy.current = false;
  }, [key, cursor]);
  const setItems = useCallback((change) => setData((before) => before && { ...before, items: change(before.items) }), []);
  return {
    items: data?.items,
    hasMore: Boolean(cursor),
    more,
    failure: failure ?? next.failure,
    isLoading: isLoading || Boolean(next.isLoading),
    reload,
    setItems,
  };
}

function merged(before, added) {
  const known = new Set(before.map(({ id }) => id));
  return [...before, ...added.filter(({ id }) => id === undefined || !known.has(id))];
}
