-- Who may read the words of messages: whoever may read the messages.

grant select on public.message_words to authenticated, contact;
