// A button that has an export made, says how far it is, and downloads it.

import { useEffect, useRef, useState } from "preact/hooks";

import { downloadWhenMade } from "../api.js";
import { t } from "../language.js";
import { complain, say } from "./toasts.jsx";

export function ZipButton({ path, name }) {
  const [progress, setProgress] = useState(null);
  const ending = useRef();
  useEffect(() => () => ending.current?.abort(), []);

  async function run() {
    ending.current = new AbortController();
    setProgress(0);
    const count = ({ counts }) => setProgress(Object.values(counts ?? {}).reduce((sum, each) => sum + each, 0));
    try {
      await downloadWhenMade(path, name, count, ending.current.signal);
      say(t("zip.done", { name }));
    } catch (failure) {
      if (failure.name !== "AbortError") complain(failure);
    }
    setProgress(null);
  }

  return (
    <button type="button" disabled={progress !== null} onClick={run}>
      {progress === null ? t("zip.export") : <span role="status">{t("zip.rows", { count: progress })}</span>}
    </button>
  );
}
