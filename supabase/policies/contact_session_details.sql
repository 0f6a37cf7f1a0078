-- Who may read a contact's session details: the contact, those of its token's conversation; users, those that they may see.

grant select on public.contact_session_details to contact, authenticated;
