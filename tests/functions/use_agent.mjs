// The agent of docs/streams.md, which is the real HttpAgent of `@ag-ui/client`, against a running stack.
// Arguments: the name of a scenario and what it is given, as JSON. Prints what it saw as JSON.

import { pathToFileURL } from "node:url";

const [scenario, argument] = process.argv.slice(2);
const given = JSON.parse(argument);
const { ChatAgent } = await import(pathToFileURL(given.module).href);
// The package warns of what it finds wrong with a stream.
const complaints = [];
console.warn = (...told) => complaints.push(told.join(" "));
console.error = () => {}; // the error of a run, which runAgent throws as well

/** An agent that reports its events; `agent.spoken` resolves with the first text of an answer. */
function start(options = {}) {
  const agent = new ChatAgent({ threadId: given.thread, initialMessages: given.messages, ...options });
  if (given.token) agent.headers = { Authorization: `Bearer ${given.token}` };
  agent.events = [];
  agent.spoken = new Promise((resolve) => {
    agent.subscribe({
      onEvent: ({ event }) => void agent.events.push(event),
      onTextMessageContentEvent: () => resolve(),
    });
  });
  return agent;
}

let count = 0;
const say = (agent, content) => agent.addMessage({ id: `m${(count += 1)}`, role: "user", content });
/** Lets the held answer go on to its end. */
const allow = () => fetch(`${given.allow}/inf`);
const failure = (running) => running.then(() => null, (error) => error.message);
const seen = (agent) => ({
  messages: agent.messages,
  events: agent.events,
  types: agent.events.map((event) => event.type).filter((type, n, all) => type !== all[n - 1]),
  token: agent.headers.Authorization?.slice("Bearer ".length),
  complaints,
});

const scenarios = {
  async talk() {
    const agent = start();
    const texts = [];
    agent.subscribe({ onTextMessageContentEvent: ({ textMessageBuffer }) => void texts.push(textMessageBuffer) });
    const errors = [];
    for (const content of given.contents) {
      say(agent, content);
      errors.push(await failure(agent.runAgent(given.run)));
    }
    return { ...seen(agent), texts, errors };
  },

  /** Leaves in the middle of an answer, and comes back: to the rest of it, or to the same run from its beginning. */
  async leave() {
    const agent = start();
    say(agent, given.content);
    const run = { runId: crypto.randomUUID() };
    const left = failure(agent.runAgent(run));
    await agent.spoken;
    agent.abortRun();
    await left;
    const before = structuredClone(agent.messages);
    agent.events.length = 0;
    if (given.repeat) agent.setMessages(agent.messages.slice(0, -1));
    const back = failure(given.repeat ? agent.runAgent(run) : agent.connectAgent());
    await allow();
    const error = await back;
    return { ...seen(agent), before, error, run: run.runId };
  },

  async cancel() {
    const agent = start();
    say(agent, given.content);
    const running = failure(agent.runAgent());
    await agent.spoken;
    await agent.cancel();
    await running;
    const cancelled = structuredClone(agent.messages);
    await allow();
    say(agent, given.then);
    const error = await failure(agent.runAgent());
    return { ...seen(agent), cancelled, error };
  },

  /** Follows an answer with another caller's token. */
  async connect() {
    const agent = start();
    return { error: await failure(agent.connectAgent()), ...seen(agent) };
  },
};

console.log(JSON.stringify(await scenarios[scenario]()));
process.exit(0);
