export default {
  "nav.inbox": "Eingang",
  "nav.sessions": "Sitzungen",
  "nav.contacts": "Kontakte",
  "nav.analytics": "Auswertung",
  "nav.work": "Betrieb",
  "nav.settings": "Einstellungen",
  "nav.views": "Ansichten",
  "nav.workspace": "Arbeitsbereich",
  "nav.sign_out": "Abmelden",
  "nav.skip": "Zum Inhalt springen",

  "sign_in.email": "E-Mail",
  "sign_in.password": "Passwort",
  "sign_in.submit": "Anmelden",
  "sign_in.refused": "E-Mail oder Passwort ist falsch.",

  "welcome.title": "Willkommen",
  "welcome.signed_in": "Sie sind als {email} angemeldet und noch in keinem Arbeitsbereich.",
  "welcome.invited": "Sie sind als {role} in {workspace} eingeladen.",
  "welcome.accept": "Beitreten",
  "welcome.ask": "Bitten Sie einen Inhaber des Arbeitsbereichs Ihres Teams, diese Adresse einzuladen.",

  "role.owner": "Inhaber",
  "role.admin": "Administrator",
  "role.agent": "Mitarbeiter",

  "action.retry": "Erneut versuchen",
  "action.close": "Schließen",
  "action.cancel": "Abbrechen",
  "action.save": "Speichern",
  "action.delete": "Löschen",
  "action.undo": "Rückgängig",
  "action.export_csv": "Als CSV exportieren",
  "action.back": "Zurück",

  "keys.title": "Tasten",
  "keys.list": "Diese Liste",

  "state.loading": "Wird geladen …",
  "state.offline": "Sie sind offline. Was Sie sehen, kann veraltet sein; es wird aktualisiert, sobald die Verbindung wieder da ist.",
  "state.unreachable": "Der Server ist nicht erreichbar. Sind Sie online?",
  "state.broken": "Auf dieser Seite ist etwas schiefgegangen. Laden Sie sie neu.",

  "error.forbidden": "Ihre Rolle erlaubt das nicht.",
  "error.rate_limited": "Zu viele Anfragen. Versuchen Sie es gleich noch einmal.",

  "status.active": "aktiv",
  "status.paused": "pausiert",
  "status.completed": "abgeschlossen",
  "status.failed": "fehlgeschlagen",
  "status.timeout": "abgelaufen",
  "status.cancelled": "abgebrochen",
  "status.archived": "archiviert",

  "contact.unnamed": "Unbenannter Kontakt",
  "proof.verified": "nachgewiesen",
  "proof.asserted": "nicht nachgewiesen",
};
