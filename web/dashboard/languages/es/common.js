export default {
  "nav.inbox": "Bandeja de entrada",
  "nav.sessions": "Sesiones",
  "nav.contacts": "Contactos",
  "nav.analytics": "Estadísticas",
  "nav.work": "Operación",
  "nav.settings": "Ajustes",
  "nav.views": "Vistas",
  "nav.workspace": "Espacio de trabajo",
  "nav.sign_out": "Cerrar sesión",
  "nav.skip": "Ir al contenido",

  "sign_in.email": "Correo electrónico",
  "sign_in.password": "Contraseña",
  "sign_in.submit": "Iniciar sesión",
  "sign_in.refused": "El correo o la contraseña no son correctos.",

  "welcome.title": "Te damos la bienvenida",
  "welcome.signed_in": "Has iniciado sesión como {email} y aún no estás en ningún espacio de trabajo.",
  "welcome.invited": "Tienes una invitación a {workspace} como {role}.",
  "welcome.accept": "Unirse",
  "welcome.ask": "Pide a un propietario del espacio de trabajo de tu equipo que invite a esta dirección.",

  "role.owner": "propietario",
  "role.admin": "administrador",
  "role.agent": "agente",

  "action.retry": "Reintentar",
  "action.close": "Cerrar",
  "action.cancel": "Cancelar",
  "action.save": "Guardar",
  "action.delete": "Eliminar",
  "action.undo": "Deshacer",
  "action.export_csv": "Exportar como CSV",
  "action.back": "Volver",

  "keys.title": "Teclas",
  "keys.list": "Esta lista",

  "state.loading": "Cargando …",
  "state.offline": "No hay conexión. Lo que ves puede ser antiguo; se actualizará cuando vuelva la conexión.",
  "state.unreachable": "No se puede contactar con el servidor. ¿Tienes conexión?",
  "state.broken": "Algo ha fallado en esta página. Vuelve a cargarla.",

  "error.forbidden": "Tu rol no lo permite.",
  "error.rate_limited": "Demasiadas solicitudes. Inténtalo de nuevo en un momento.",

  "status.active": "activa",
  "status.paused": "en pausa",
  "status.completed": "completada",
  "status.failed": "fallida",
  "status.timeout": "caducada",
  "status.cancelled": "cancelada",
  "status.archived": "archivada",

  "contact.unnamed": "Contacto sin nombre",
  "proof.verified": "demostrado",
  "proof.asserted": "no demostrado",
};
