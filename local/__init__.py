"""The backend on one machine: Postgres, PostgREST, Supabase's additions, and the functions' server."""
