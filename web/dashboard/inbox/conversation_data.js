// An open conversation: its session, its messages, the answer under way, and what the member sends.

import { useCallback, useEffect, useReducer, useRef } from "preact/hooks";

import { user } from "../account.js";
import { call, follow, get } from "../api.js";
import { listen } from "../live.js";
import { apply, EMPTY } from "./conversation_state.js";
import { beginSending, endSending, settle } from "./drafts.js";

const PAGE = 50;
const DELIVERY_CHECKS_MS = [1_000, 3_000, 8_000, 20_000, 60_000];

// The conversation of a session; see conversation_state.js for what it holds. Also {reload, older, send}.
export function useConversation(id) {
  const [state, change] = useReducer(apply, EMPTY);
  const latest = useRef(state);
  latest.current = state;

  const readSession = useCallback(
    async (signal) => change({ kind: "session", session: await get(`/chat-sessions/${id}`, { limit: 1 }, signal) }),
    [id],
  );

  const load = useCallback(
    async (signal) => {
      try {
        const session = await get(`/chat-sessions/${id}`, { limit: 1 }, signal);
        const page = session.archive?.messages_dropped
          ? { items: (await get(`/archive/${id}`, {}, signal)).messages.map((each) => ({ ...each, session_id: id })).reverse() }
          : await get(`/conversations/${session.conversation_id}/messages`, { limit: PAGE }, signal);
        settle(session.conversation_id, page.items);
        change({ kind: "loaded", session, page });
      } catch (failure) {
        if (!signal.aborted) change({ kind: "failed", failure });
      }
    },
    [id],
  );

  const round = useRef();
  const reload = useCallback(() => {
    round.current?.abort();
    round.current = new AbortController();
    load(round.current.signal);
  }, [load]);

  useEffect(() => {
    change({ kind: "cleared" });
    reload();
    return () => round.current.abort();
  }, [reload]);

  const conversation = state.session?.conversation_id;
  useEffect(() => {
    if (!conversation) return undefined;
    const ending = new AbortController();
    // No stream knows a message that is in the archive only.
    const { messages, session } = latest.current;
    const after = session.archive?.messages_dropped ? "latest" : messages.at(-1)?.id;
    followConversation(conversation, after, ending.signal, change);
    // The session's state, its members and tags are those of the route, read again when something has changed.
    let timer;
    // An agent to whom it is not assigned any more may not see it.
    const tell = (failure) => failure.status === 404 && change({ kind: "lost", failure });
    const stop = listen(({ event, data }) => {
      if (event !== "reset" && data?.session_id !== id) return;
      clearTimeout(timer);
      timer = setTimeout(() => readSession(ending.signal).catch(tell), 100);
    });
    return () => (ending.abort(), stop(), clearTimeout(timer));
  }, [conversation, id, readSession]);

  const running = state.running;
  useEffect(() => {
    if (!running) return undefined;
    const ending = new AbortController();
    followTurn(running, ending.signal, change);
    return () => ending.abort();
  }, [running]);

  // Streams do not carry deliveries: they are read again until nothing is under way.
  const lastOut = state.messages.findLast(({ role }) => role === "persona" || role === "member")?.id;
  const isDelivered = conversation && state.session.channel !== "web";
  useEffect(() => {
    if (!isDelivered || !lastOut) return undefined;
    const timers = DELIVERY_CHECKS_MS.map((wait) => setTimeout(check, wait));
    async function check() {
      try {
        change({ kind: "deliveries", items: (await get(`/conversations/${conversation}/messages`, { limit: PAGE })).items });
      } catch {
        // The next check tells.
      }
    }
    return () => timers.forEach(clearTimeout);
  }, [isDelivered, conversation, lastOut]);

  const older = useCallback(async () => {
    const { session, cursor, isLoadingOlder } = latest.current;
    if (!cursor || isLoadingOlder) return;
    change({ kind: "older", isLoading: true });
    try {
      const page = await get(`/conversations/${session.conversation_id}/messages`, { limit: PAGE, cursor });
      change({ kind: "older", page });
    } catch (failure) {
      change({ kind: "older", failure });
    }
  }, []);

  // Send a message, which is shown at once. Throws Failure; the message is then gone again.
  const send = useCallback(
    async (text) => {
      const thread = latest.current.session.conversation_id;
      const user_id = user.value.id;
      const client_message_id = beginSending(thread, text, latest.current.messages.at(-1)?.id);
      change({ kind: "sending", message: { id: client_message_id, role: "member", user_id, text, created_at: new Date().toISOString() } });
      try {
        const sent = await call("POST", `/chat-sessions/${id}/messages`, { body: { text, client_message_id } });
        endSending(thread, client_message_id);
        change({ kind: "sent", id: client_message_id, message: { ...sent, id: sent.message_id, user_id, partial: false } });
      } catch (failure) {
        // The response was lost, but the message has come back in the stream.
        if (!latest.current.sending.some(({ id: each }) => each === client_message_id)) return endSending(thread, client_message_id);
        change({ kind: "unsent", id: client_message_id });
        throw failure;
      }
      return undefined;
    },
    [id],
  );

  return { ...state, change, reload, readSession, older, send };
}

async function followConversation(conversation, after, signal, change) {
  try {
    for await (const { event, data } of follow(`/conversations/${conversation}/stream`, { query: { after }, signal })) {
      if (event === "session") change({ kind: "state", state: data });
      else if (event === "presence") change({ kind: "presence", members: data.members });
      else if (event === "message") change({ kind: "message", message: data });
      else if (event === "error" && !data.retryable) return;
    }
  } catch (failure) {
    change({ kind: "lost", failure });
  }
}

// The answer of a turn piece by piece, and how it ends.
async function followTurn(turn, signal, change) {
  try {
    for await (const { event, data } of follow(`/turns/${turn}/stream`, { signal })) {
      if (event === "delta") change({ kind: "delta", turn, text: data.text });
      else if (event === "done") return change({ kind: "ended", turn, status: data.status });
      else if (event === "error" && data.code !== "stream_limit") {
        return change({ kind: "ended", turn, status: "failed", error_code: data.code });
      }
    }
  } catch {
    change({ kind: "ended", turn });
  }
  return undefined;
}
