export default {
  "sessions.title": "Sessions",
  "sessions.search": "Search the messages",
  "sessions.status": "Status",
  "sessions.any": "any",
  "sessions.empty": "No session fits these filters.",
  "sessions.contact": "Contact",
  "sessions.persona": "Persona",
  "sessions.channel": "Channel",
  "sessions.messages": "Messages",
  "sessions.activity": "Last activity",
};
