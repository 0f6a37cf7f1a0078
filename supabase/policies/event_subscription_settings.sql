-- Who may see event subscriptions: admins and owners; the view reads public.event_subscriptions with its reader's rights.

grant select on public.event_subscription_settings to authenticated, service_role, switchboard;
