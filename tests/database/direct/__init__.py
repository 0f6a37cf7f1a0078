"""Direct connections to Postgres: what their login may do, calls over them, and how calls share them."""
