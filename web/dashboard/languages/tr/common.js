export default {
  "nav.inbox": "Gelen kutusu",
  "nav.sessions": "Oturumlar",
  "nav.contacts": "Kişiler",
  "nav.analytics": "Analiz",
  "nav.work": "İşletim",
  "nav.settings": "Ayarlar",
  "nav.views": "Görünümler",
  "nav.workspace": "Çalışma alanı",
  "nav.sign_out": "Çıkış yap",
  "nav.skip": "İçeriğe geç",

  "sign_in.email": "E-posta",
  "sign_in.password": "Parola",
  "sign_in.submit": "Giriş yap",
  "sign_in.refused": "E-posta veya parola yanlış.",

  "welcome.title": "Hoş geldiniz",
  "welcome.signed_in": "{email} olarak giriş yaptınız, henüz bir çalışma alanında değilsiniz.",
  "welcome.invited": "{workspace} alanına {role} olarak davet edildiniz.",
  "welcome.accept": "Katıl",
  "welcome.ask": "Ekibinizin çalışma alanının bir sahibinden bu adresi davet etmesini isteyin.",

  "role.owner": "sahip",
  "role.admin": "yönetici",
  "role.agent": "temsilci",

  "action.retry": "Yeniden dene",
  "action.close": "Kapat",
  "action.cancel": "Vazgeç",
  "action.save": "Kaydet",
  "action.delete": "Sil",
  "action.undo": "Geri al",
  "action.export_csv": "CSV olarak dışa aktar",
  "action.back": "Geri",

  "keys.title": "Tuşlar",
  "keys.list": "Bu liste",

  "state.loading": "Yükleniyor …",
  "state.offline": "Çevrimdışısınız. Gördükleriniz eski olabilir; bağlantı gelince güncellenir.",
  "state.unreachable": "Sunucuya ulaşılamıyor. Çevrimiçi misiniz?",
  "state.broken": "Bu sayfada bir sorun oluştu. Sayfayı yeniden yükleyin.",

  "error.forbidden": "Rolünüz buna izin vermiyor.",
  "error.rate_limited": "Çok fazla istek. Birazdan yeniden deneyin.",

  "status.active": "etkin",
  "status.paused": "duraklatıldı",
  "status.completed": "tamamlandı",
  "status.failed": "başarısız",
  "status.timeout": "zaman aşımı",
  "status.cancelled": "iptal edildi",
  "status.archived": "arşivlendi",

  "contact.unnamed": "Adsız kişi",
  "proof.verified": "kanıtlandı",
  "proof.asserted": "kanıtlanmadı",
};
