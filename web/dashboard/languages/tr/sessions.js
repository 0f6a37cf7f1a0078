export default {
  "sessions.title": "Oturumlar",
  "sessions.search": "Mesajlarda ara",
  "sessions.status": "Durum",
  "sessions.any": "hepsi",
  "sessions.empty": "Bu filtrelere uyan oturum yok.",
  "sessions.contact": "Kişi",
  "sessions.persona": "Karakter",
  "sessions.channel": "Kanal",
  "sessions.messages": "Mesajlar",
  "sessions.activity": "Son etkinlik",
};
