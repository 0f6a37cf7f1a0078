-- The third clock. The hours are the functions' to know (CHAT_SESSION_TIMEOUT_HOURS, CHAT_SESSION_CLEANUP_INTERVAL), so they
-- are called every hour, and sweep when their interval has passed. Nothing waits for it: a time-out is late, never lost.

set lock_timeout = '5s';
set statement_timeout = '60s';

select cron.schedule('switchboard-session-cleanup', '25 * * * *', $$select private.call_function('session_cleanup')$$);
