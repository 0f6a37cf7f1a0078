-- Who may see contacts by their tags: members.

grant select on public.contacts_by_tag to authenticated, service_role;
