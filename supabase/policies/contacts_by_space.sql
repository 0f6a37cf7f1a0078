-- Who may see contacts by the spaces of their conversations: members, for the conversations that they may see.

grant select on public.contacts_by_space to authenticated, service_role;
