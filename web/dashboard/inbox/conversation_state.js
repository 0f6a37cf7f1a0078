// What an open conversation holds, and how each event changes it.
//
// {session, messages: oldest first, cursor: of the page before them, sending: messages whose receipt is not confirmed,
//  running: the turn whose answer is under way, draft: its text so far, turns: {id: {status, error_code}}, newer: the id of a
//  later session in the conversation, present: the members who have it open, {user_id, typing}, failure, isLoadingOlder}

export const EMPTY = { messages: [], sending: [], turns: {}, draft: "", present: [] };

export function apply(state, event) {
  switch (event.kind) {
    case "cleared":
      return EMPTY;
    case "failed":
    case "lost":
      return { ...state, failure: event.failure };
    case "loaded": {
      const { items, next_cursor } = event.page;
      const next = { ...EMPTY, present: state.present, session: event.session, messages: [...items].reverse(), cursor: next_cursor };
      return withTurns(next, event.session.turns);
    }
    case "session":
      return withTurns({ ...state, session: event.session }, event.session.turns);
    case "state": {
      const { session_id, status, taken_over } = event.state;
      if (session_id !== state.session.id) return { ...state, newer: session_id };
      return { ...state, session: { ...state.session, status, taken_over } };
    }
    case "presence":
      return { ...state, present: event.members };
    case "message":
      return received(state, event.message);
    case "delta":
      return event.turn === state.running ? { ...state, draft: state.draft + event.text } : state;
    case "ended": {
      const { turn, status, error_code } = event;
      const turns = { ...state.turns, [turn]: { status, error_code } };
      // A whole answer replaces the draft when its message comes; a failed one has none.
      const isAnswered = state.messages.some(({ role, turn_id }) => role === "persona" && turn_id === turn);
      const waits = !isAnswered && state.draft && status === "completed";
      return { ...state, turns, ...(state.running === turn && !waits && { running: undefined, draft: "" }) };
    }
    case "deliveries": {
      const found = new Map(event.items.map((each) => [each.id, each]));
      return { ...state, messages: state.messages.map((each) => (found.has(each.id) ? { ...each, ...found.get(each.id) } : each)) };
    }
    case "older": {
      const { page, failure, isLoading = false } = event;
      if (!page) return { ...state, isLoadingOlder: isLoading, olderFailure: failure };
      const known = new Set(state.messages.map(({ id }) => id));
      const before = page.items.filter(({ id }) => !known.has(id)).reverse();
      return { ...state, messages: [...before, ...state.messages], cursor: page.next_cursor, isLoadingOlder: false };
    }
    case "sending":
      return { ...state, sending: [...state.sending, event.message] };
    case "sent":
      return received({ ...state, sending: without(state.sending, event.id) }, event.message);
    case "unsent":
      return { ...state, sending: without(state.sending, event.id) };
    default:
      throw new Error(event.kind);
  }
}

const without = (messages, id) => messages.filter((each) => each.id !== id);

function received(state, message) {
  const { role, turn_id, id, text } = message;
  const place = state.messages.findIndex((each) => each.id === id);
  const messages = place < 0 ? [...state.messages, message] : state.messages.with(place, { ...state.messages[place], ...message });
  const next = { ...state, messages };
  if (place >= 0) return next;
  // The stream may be faster than the response to the request that sent it.
  if (role === "member") {
    const own = next.sending.findIndex((each) => each.text === text);
    if (own >= 0) next.sending = next.sending.toSpliced(own, 1);
  }
  if (role === "persona" && turn_id && turn_id === state.running) return { ...next, running: undefined, draft: "" };
  const isAsked = (role === "contact" || role === "user") && turn_id && !state.turns[turn_id]?.status;
  return isAsked && turn_id !== state.running ? { ...next, running: turn_id, draft: "" } : next;
}

function withTurns(state, list = []) {
  const turns = { ...state.turns };
  for (const { id, status, error_code } of list) if (status !== "active") turns[id] = { status, error_code };
  const active = list.findLast(({ status }) => status === "active")?.id;
  return active && active !== state.running && !turns[active]?.status ? { ...state, turns, running: active, draft: "" } : { ...state, turns };
}
