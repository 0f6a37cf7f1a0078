"""What the functions share: the domain (chat, sessions, contacts, …) and the edge (http, auth, database, …)."""
