// Server-sent events over fetch, since EventSource cannot POST: parsed after the HTML standard
// (html.spec.whatwg.org, "Server-sent events"), wherever the bytes are split.

// A function that takes text and returns the events it completes, each {id, name, data}.
function eventParser() {
  let rest = "";
  let afterReturn = false;
  let id = "";
  let name = "";
  let data = [];

  function take(line) {
    if (line === "") {
      const found = data.length ? { id, name: name || "message", data: data.join("\n") } : null;
      name = "";
      data = [];
      return found;
    }
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "data") data.push(value);
    else if (field === "event") name = value;
    else if (field === "id" && !value.includes("\0")) id = value;
    return null;
  }

  return (text) => {
    if (!text) return [];
    // A line may end in \r\n, and the split may be between the two.
    const fresh = afterReturn && text.startsWith("\n") ? text.slice(1) : text;
    afterReturn = text.endsWith("\r");
    const lines = (rest + fresh).split(/\r\n|\n|\r/);
    rest = lines.pop();
    return lines.map(take).filter(Boolean);
  };
}

// The events of a response as they arrive; `onBytes` is called for all bytes, heartbeats included.
export async function* readEvents(response, onBytes) {
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  const parse = eventParser();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      onBytes();
      yield* parse(decoder.decode(value, { stream: true }));
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
