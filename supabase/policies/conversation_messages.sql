-- Who may read a conversation's messages: the readers of its sessions, each with their own rights.

grant select on public.conversation_messages to authenticated, contact, service_role;
