export default {
  "sessions.title": "Sitzungen",
  "sessions.search": "Nachrichten durchsuchen",
  "sessions.status": "Zustand",
  "sessions.any": "alle",
  "sessions.empty": "Keine Sitzung passt zu diesen Filtern.",
  "sessions.contact": "Kontakt",
  "sessions.persona": "KI-Persona",
  "sessions.channel": "Kanal",
  "sessions.messages": "Nachrichten",
  "sessions.activity": "Letzte Aktivität",
};
