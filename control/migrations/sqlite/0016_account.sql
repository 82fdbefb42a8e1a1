-- People. `email` is folded to one case. Without `password_hash` (argon2id, PHC) nobody signs in by
-- password. `totp_secret` is sealed with the installation's key; `totp_step` is the last one used.
create table account (
    id integer primary key,
    email text not null unique,
    name text not null,
    password_hash text,
    state integer not null,
    verified_at_ms integer,
    totp_secret blob,
    totp_confirmed_at_ms integer,
    totp_step integer not null default 0,
    created_at_ms integer not null
) strict;

-- Links in mails and in the terminal: the SHA-256 of what they hold. `bound` is a hash of what the
-- account was when it was made: a change of that voids it. `tries`: wrong codes that were given with it.
-- `purpose`: see account/token.rs.
create table account_token (
    hash blob primary key,
    account_id integer references account (id),
    purpose integer not null,
    detail text not null,
    bound blob not null,
    tries integer not null default 0,
    created_at_ms integer not null,
    expires_at_ms integer not null,
    used_at_ms integer
) strict;

create index account_token_account on account_token (account_id, purpose);
create index account_token_expires on account_token (expires_at_ms);

-- What signs in when the second factor is lost. Each works once.
create table recovery_code (
    account_id integer not null references account (id),
    hash blob not null,
    used_at_ms integer,
    primary key (account_id, hash)
) strict, without rowid;

-- What second factors are sealed with, unless accounts.secret_key says so.
alter table secret add column seal_key blob;
