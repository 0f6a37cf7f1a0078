export default {
  "sessions.title": "الجلسات",
  "sessions.search": "البحث في الرسائل",
  "sessions.status": "الحالة",
  "sessions.any": "الكل",
  "sessions.empty": "لا توجد جلسة تطابق هذه المرشحات.",
  "sessions.contact": "جهة الاتصال",
  "sessions.persona": "الشخصية",
  "sessions.channel": "القناة",
  "sessions.messages": "الرسائل",
  "sessions.activity": "آخر نشاط",
};
