export default {
  "sessions.title": "Sessões",
  "sessions.search": "Pesquisar nas mensagens",
  "sessions.status": "Estado",
  "sessions.any": "qualquer",
  "sessions.empty": "Nenhuma sessão corresponde a estes filtros.",
  "sessions.contact": "Contacto",
  "sessions.persona": "Personagem",
  "sessions.channel": "Canal",
  "sessions.messages": "Mensagens",
  "sessions.activity": "Última atividade",
};
