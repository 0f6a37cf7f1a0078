// The demo page of the chat: opens it, and shows the ids of its events.

const at = (id) => document.getElementById(id);

function show(values) {
  for (const [id, text] of Object.entries(values)) if (text) at(id).textContent = text;
}

document.addEventListener("switchboard:registered", ({ detail }) => {
  show({ "contact-id": detail.contact_id, "session-id": detail.session_id, status: "registered" });
});
document.addEventListener("switchboard:turn", ({ detail }) => {
  show({ "contact-id": detail.contact_id, "session-id": detail.session_id, "turn-id": detail.turn_id, status: "answering" });
});
document.addEventListener("switchboard:message", ({ detail }) => {
  if (detail.role === "persona") show({ status: detail.stopped ? "stopped" : "answered" });
});
document.addEventListener("switchboard:error", ({ detail }) => show({ status: detail.code }));
document.addEventListener("switchboard:forget", () => {
  show({ "contact-id": "–", "session-id": "–", "turn-id": "–", status: "forgotten on this device" });
});

at("open").addEventListener("click", () => window.Switchboard?.open());
