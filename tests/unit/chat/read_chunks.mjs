// Reads UI message streams with the real package, as useChat does: each chunk through the package's own schema, all of them
// into one message. Takes {streams: {name: text}} on standard input and prints what each release makes of each stream.

import { text } from "node:stream/consumers";
import * as newest from "ai";
// The first release with this protocol: it refuses chunks with members that it does not know.
import * as first from "ai-5";

async function read(release, wire) {
  const answered = async () => new Response(wire, { headers: { "content-type": "text/event-stream" } });
  const transport = new release.DefaultChatTransport({ api: "https://chat.example/", fetch: answered });
  const seen = { chunks: [], message: null, error: null, invalid: null };
  let stream;
  try {
    stream = await transport.sendMessages({ chatId: "c", messages: [], trigger: "submit-message" });
    const [raw, told] = stream.tee();
    const keep = raw.pipeTo(new WritableStream({ write: (chunk) => void seen.chunks.push(chunk) }));
    keep.catch(() => {});
    for await (const message of release.readUIMessageStream({
      stream: told,
      onError: (error) => (seen.error = error.message),
    })) {
      seen.message = message;
    }
    await keep;
  } catch (problem) {
    seen.invalid = String(problem);
  }
  return seen;
}

const { streams } = JSON.parse(await text(process.stdin));
const seen = {};
for (const [name, wire] of Object.entries(streams)) {
  seen[name] = { newest: await read(newest, wire), first: await read(first, wire) };
}
console.log(JSON.stringify(seen));
