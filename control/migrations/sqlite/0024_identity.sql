-- Who somebody is to a provider of OpenID Connect: they sign in as this account. The e-mail address is
-- what the provider said of it when it was used last, and means nothing here.
create table identity (
    id integer primary key,
    account_id integer not null references account (id),
    issuer text not null,
    subject text not null,
    email text not null,
    created_at_ms integer not null,
    used_at_ms integer not null,
    unique (issuer, subject)
) strict;

create index identity_account on identity (account_id, created_at_ms);

-- Wrong passwords and codes in a row, since the last right one.
alter table account add column wrong_tries integer not null default 0;
