-- Keys of authenticators that people sign in with (W3C Web Authentication). What is here proves nothing to
-- anybody: it checks what an authenticator has signed.
create table passkey (
    id bigint primary key,
    account_id bigint not null references account (id),
    -- What the authenticator calls it.
    credential_id bytea not null unique,
    -- The public key, as COSE has it (RFC 9052), and its algorithm's number there.
    public_key bytea not null,
    algorithm bigint not null,
    -- Uses that the authenticator has counted; 0 if it counts none.
    counter bigint not null,
    -- Whether it may be copied to other devices, and whether it was, when it was used last.
    backup_eligible boolean not null,
    backed_up boolean not null,
    -- How browsers reach the authenticator, in words with commas between them; a hint.
    transports text collate "C" not null,
    name text collate "C" not null,
    created_at_ms bigint not null,
    used_at_ms bigint
);

create index passkey_account on passkey (account_id, created_at_ms);
