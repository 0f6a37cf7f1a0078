"""The backend on one machine: Postgres, PostgREST, what Supabase adds to them, and the functions' server."""
