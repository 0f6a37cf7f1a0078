"""Commands against real servers: their login, the calls, how calls share a pool, and a pooler in between."""
