// The page's address: the view in the hash, so that any static host serves it, and its filters in the query.

import { useMemo } from "preact/hooks";
import { useSearch } from "wouter-preact";
import { navigate, useHashLocation } from "wouter-preact/use-hash-location";

export const usePlace = Object.assign((options) => useHashLocation(options), {
  hrefs: (href) => {
    const [path, query] = href.split("?");
    return `${location.pathname}${query ? `?${query}` : ""}#${path}`;
  },
});

// The path of a view with its filters; empty ones are left out.
export function to(path, query = {}) {
  const given = Object.entries(query).flatMap(([name, value]) => [value].flat().map((one) => [name, one]));
  return `${path}?${new URLSearchParams(given.filter(([, one]) => one !== undefined && one !== null && one !== ""))}`;
}

export const go = (path, query, options) => navigate(to(path, query), options);

// The filters of the address as an object, and what changes some of them.
export function useFilters() {
  const search = useSearch();
  return useMemo(() => {
    const filters = Object.fromEntries(new URLSearchParams(search));
    const change = (changes) => go(location.hash.slice(1), { ...filters, ...changes }, { replace: true });
    return [filters, change];
  }, [search]);
}
