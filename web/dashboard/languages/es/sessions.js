export default {
  "sessions.title": "Sesiones",
  "sessions.search": "Buscar en los mensajes",
  "sessions.status": "Estado",
  "sessions.any": "cualquiera",
  "sessions.empty": "Ninguna sesión cumple estos filtros.",
  "sessions.contact": "Contacto",
  "sessions.persona": "Personaje",
  "sessions.channel": "Canal",
  "sessions.messages": "Mensajes",
  "sessions.activity": "Última actividad",
};
