-- Who may read a contact's session details: the contact, those of its token's conversation.

grant select on public.contact_session_details to contact;
