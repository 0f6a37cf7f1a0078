// A view whose code is loaded when it is first shown.

import { useEffect, useState } from "preact/hooks";

import { Failure } from "../api.js";
import { Failed, Loading } from "./states.jsx";

export function lazy(load) {
  let View;
  return function Lazy(properties) {
    const [state, setState] = useState({});
    const attempt = () =>
      load().then(
        (module) => setState({ view: (View = module.default) }),
        () => setState({ failure: new Failure(0) }),
      );
    useEffect(() => {
      if (!View) attempt();
    }, []);
    if (View) return <View {...properties} />;
    return state.failure ? <Failed failure={state.failure} retry={attempt} /> : <Loading />;
  };
}
