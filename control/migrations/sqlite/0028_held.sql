-- What is asked for with each change of a domain, and when an account is made.
create index domain_workspace on domain (workspace_id);
create index invitation_email on invitation (email);
