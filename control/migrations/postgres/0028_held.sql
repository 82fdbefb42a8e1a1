-- What is asked for with each change of a domain, and when an account is made.
create index domain_workspace on domain (workspace_id);
create index invitation_email on invitation (email);

-- As every text: no update of the system's locales changes the order of the index on these.
alter table identity
    alter column issuer type text collate "C",
    alter column subject type text collate "C",
    alter column email type text collate "C";
