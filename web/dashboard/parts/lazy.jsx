// A view whose code is loaded when it is first shown.

import { useEffect, useState } from "preact/hooks";

import { Failure } from "../api.js";
import { Failed, Loading } from "./states.jsx";

// `preload` loads it earlier.
export function lazy(load) {
  let View;
  const preload = async () => (View = (await load()).default);
  return Object.assign(Lazy, { preload });

  function Lazy(properties) {
    const [state, setState] = useState({});
    const attempt = () =>
      preload().then(
        (view) => setState({ view }),
        () => setState({ failure: new Failure(0) }),
      );
    // It may have come between this and the effect.
    const isThere = Boolean(View);
    useEffect(() => {
      if (!isThere) attempt();
    }, []);
    if (View) return <View {...properties} />;
    return state.failure ? <Failed failure={state.failure} retry={attempt} /> : <Loading />;
  }
}
