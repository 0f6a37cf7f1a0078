export default {
  "sessions.title": "Sessions de chat",
  "sessions.search": "Rechercher dans les messages",
  "sessions.status": "État",
  "sessions.any": "tous",
  "sessions.empty": "Aucune session ne correspond à ces filtres.",
  "sessions.contact": "Interlocuteur",
  "sessions.persona": "Personnage",
  "sessions.channel": "Canal",
  "sessions.messages": "Nombre de messages",
  "sessions.activity": "Dernière activité",
};
