export default {
  "nav.inbox": "Caixa de entrada",
  "nav.sessions": "Sessões",
  "nav.contacts": "Contactos",
  "nav.analytics": "Estatísticas",
  "nav.work": "Operação",
  "nav.settings": "Definições",
  "nav.views": "Vistas",
  "nav.workspace": "Espaço de trabalho",
  "nav.sign_out": "Terminar sessão",
  "nav.skip": "Saltar para o conteúdo",

  "sign_in.email": "E-mail",
  "sign_in.password": "Palavra-passe",
  "sign_in.submit": "Iniciar sessão",
  "sign_in.refused": "O e-mail ou a palavra-passe está errado.",

  "welcome.title": "Boas-vindas",
  "welcome.signed_in": "Iniciou sessão como {email} e ainda não está em nenhum espaço de trabalho.",
  "welcome.invited": "Tem um convite para {workspace} como {role}.",
  "welcome.accept": "Aderir",
  "welcome.ask": "Peça a um proprietário do espaço de trabalho da sua equipa que convide este endereço.",

  "role.owner": "proprietário",
  "role.admin": "administrador",
  "role.agent": "agente",

  "action.retry": "Tentar de novo",
  "action.close": "Fechar",
  "action.cancel": "Cancelar",
  "action.save": "Guardar",
  "action.delete": "Eliminar",
  "action.undo": "Anular",
  "action.export_csv": "Exportar como CSV",
  "action.back": "Voltar",

  "keys.title": "Teclas",
  "keys.list": "Esta lista",

  "state.loading": "A carregar …",
  "state.offline": "Está offline. O que vê pode ser antigo; será atualizado quando a ligação voltar.",
  "state.unreachable": "Não é possível contactar o servidor. Tem ligação?",
  "state.broken": "Algo correu mal nesta página. Recarregue-a.",

  "error.forbidden": "A sua função não o permite.",
  "error.rate_limited": "Demasiados pedidos. Tente de novo dentro de momentos.",

  "status.active": "ativa",
  "status.paused": "em pausa",
  "status.completed": "concluída",
  "status.failed": "falhada",
  "status.timeout": "expirada",
  "status.cancelled": "cancelada",
  "status.archived": "arquivada",

  "contact.unnamed": "Contacto sem nome",
  "proof.verified": "comprovado",
  "proof.asserted": "não comprovado",
};
