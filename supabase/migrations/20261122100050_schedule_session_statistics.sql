-- Still every ten minutes, but a minute after the sweeps of the archive (03:15) and of idle sessions (each hour at 25): what
-- they change is counted when somebody asks until it is kept again, and the archive's is a day and more.

set lock_timeout = '5s';
set statement_timeout = '60s';

select cron.schedule('switchboard-session-stats', '6-59/10 * * * *', 'select private.count_past_sessions()');
