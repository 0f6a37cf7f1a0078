export default {
  "nav.inbox": "الوارد",
  "nav.sessions": "الجلسات",
  "nav.contacts": "جهات الاتصال",
  "nav.analytics": "التحليلات",
  "nav.work": "التشغيل",
  "nav.settings": "الإعدادات",
  "nav.views": "العروض",
  "nav.workspace": "مساحة العمل",
  "nav.sign_out": "تسجيل الخروج",
  "nav.skip": "الانتقال إلى المحتوى",

  "sign_in.email": "البريد الإلكتروني",
  "sign_in.password": "كلمة المرور",
  "sign_in.submit": "تسجيل الدخول",
  "sign_in.refused": "البريد الإلكتروني أو كلمة المرور غير صحيحة.",

  "welcome.title": "مرحبًا",
  "welcome.signed_in": "سجّلت الدخول باسم {email}، ولست في أي مساحة عمل بعد.",
  "welcome.invited": "أنت مدعو إلى {workspace} بدور {role}.",
  "welcome.accept": "انضمام",
  "welcome.ask": "اطلب من أحد مالكي مساحة عمل فريقك دعوة هذا العنوان.",

  "role.owner": "مالك",
  "role.admin": "مدير",
  "role.agent": "موظف",

  "action.retry": "إعادة المحاولة",
  "action.close": "إغلاق",
  "action.cancel": "إلغاء",
  "action.save": "حفظ",
  "action.delete": "حذف",
  "action.undo": "تراجع",
  "action.export_csv": "تصدير بصيغة CSV",
  "action.back": "رجوع",

  "keys.title": "المفاتيح",
  "keys.list": "هذه القائمة",

  "state.loading": "جارٍ التحميل …",
  "state.offline": "أنت غير متصل. قد يكون ما تراه قديمًا؛ سيُحدَّث عند عودة الاتصال.",
  "state.unreachable": "تعذر الوصول إلى الخادم. هل أنت متصل؟",
  "state.broken": "حدث خطأ في هذه الصفحة. أعد تحميلها.",

  "error.forbidden": "دورك لا يسمح بذلك.",
  "error.rate_limited": "طلبات كثيرة جدًا. حاول مجددًا بعد قليل.",

  "status.active": "نشطة",
  "status.paused": "متوقفة مؤقتًا",
  "status.completed": "مكتملة",
  "status.failed": "فاشلة",
  "status.timeout": "انتهت مهلتها",
  "status.cancelled": "ملغاة",
  "status.archived": "مؤرشفة",

  "contact.unnamed": "جهة اتصال بلا اسم",
  "proof.verified": "مثبت",
  "proof.asserted": "غير مثبت",
};
