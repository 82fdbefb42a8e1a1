-- People. `email` is folded to one case. Without `password_hash` (argon2id, PHC) nobody signs in by
-- password. `totp_secret` is sealed with the installation's key; `totp_step` is the last one used.
create table account (
    id bigint primary key,
    email text collate "C" not null unique,
    name text collate "C" not null,
    password_hash text collate "C",
    state bigint not null,
    verified_at_ms bigint,
    totp_secret bytea,
    totp_confirmed_at_ms bigint,
    totp_step bigint not null default 0,
    created_at_ms bigint not null
);

-- Links in mails and in the terminal: the SHA-256 of what they hold. `bound` is a hash of what the
-- account was when it was made: a change of that voids it. `tries`: wrong codes that were given with it.
-- `purpose`: see account/token.rs.
create table account_token (
    hash bytea primary key,
    account_id bigint references account (id),
    purpose bigint not null,
    detail text collate "C" not null,
    bound bytea not null,
    tries bigint not null default 0,
    created_at_ms bigint not null,
    expires_at_ms bigint not null,
    used_at_ms bigint
);

create index account_token_account on account_token (account_id, purpose);
create index account_token_expires on account_token (expires_at_ms);

-- What signs in when the second factor is lost. Each works once.
create table recovery_code (
    account_id bigint not null references account (id),
    hash bytea not null,
    used_at_ms bigint,
    primary key (account_id, hash)
);

-- What second factors are sealed with, unless accounts.secret_key says so.
alter table secret add column seal_key bytea;
