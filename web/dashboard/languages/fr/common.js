export default {
  "nav.inbox": "Boîte de réception",
  "nav.sessions": "Sessions de chat",
  "nav.contacts": "Contacts du site",
  "nav.analytics": "Statistiques",
  "nav.work": "Exploitation",
  "nav.settings": "Réglages",
  "nav.views": "Vues",
  "nav.workspace": "Espace de travail",
  "nav.sign_out": "Se déconnecter",
  "nav.skip": "Aller au contenu",

  "sign_in.email": "E-mail",
  "sign_in.password": "Mot de passe",
  "sign_in.submit": "Se connecter",
  "sign_in.refused": "E-mail ou mot de passe incorrect.",

  "welcome.title": "Bienvenue",
  "welcome.signed_in": "Vous êtes connecté en tant que {email}, sans espace de travail pour l’instant.",
  "welcome.invited": "Vous êtes invité dans {workspace} en tant que {role}.",
  "welcome.accept": "Rejoindre",
  "welcome.ask": "Demandez à un propriétaire de l’espace de travail de votre équipe d’inviter cette adresse.",

  "role.owner": "propriétaire",
  "role.admin": "administrateur",
  "role.agent": "conseiller",

  "action.retry": "Réessayer",
  "action.close": "Fermer",
  "action.cancel": "Annuler",
  "action.save": "Enregistrer",
  "action.delete": "Supprimer",
  "action.undo": "Rétablir",
  "action.export_csv": "Exporter en CSV",
  "action.back": "Retour",

  "keys.title": "Touches",
  "keys.list": "Cette liste",

  "state.loading": "Chargement …",
  "state.offline": "Vous êtes hors ligne. Ce que vous voyez est peut-être ancien ; ce sera mis à jour au retour de la connexion.",
  "state.unreachable": "Le serveur est injoignable. Êtes-vous en ligne ?",
  "state.broken": "Une erreur s’est produite dans cette page. Rechargez-la.",

  "error.forbidden": "Votre rôle ne le permet pas.",
  "error.rate_limited": "Trop de requêtes. Réessayez dans un instant.",

  "status.active": "en cours",
  "status.paused": "en pause",
  "status.completed": "terminée",
  "status.failed": "échouée",
  "status.timeout": "expirée",
  "status.cancelled": "annulée",
  "status.archived": "archivée",

  "contact.unnamed": "Contact sans nom",
  "proof.verified": "prouvé",
  "proof.asserted": "non prouvé",
};
