"""What the functions share: the edge (http, auth, db, …) and the domain (registration, turns, …)."""
