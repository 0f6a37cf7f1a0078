-- Who may read the words of messages: the readers of the messages.

grant select on public.message_words to authenticated, contact, service_role;
