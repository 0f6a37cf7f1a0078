-- Counts the days that are over, and again those in which something changed since. Whoever asks before it came to them has
-- them counted on the spot.

set lock_timeout = '5s';
set statement_timeout = '60s';

select cron.schedule('switchboard-session-stats', '*/10 * * * *', 'select private.count_past_sessions()');
