-- Keys of authenticators that people sign in with (W3C Web Authentication). What is here proves nothing to
-- anybody: it checks what an authenticator has signed.
create table passkey (
    id integer primary key,
    account_id integer not null references account (id),
    -- What the authenticator calls it.
    credential_id blob not null unique,
    -- The public key, as COSE has it (RFC 9052), and its algorithm's number there.
    public_key blob not null,
    algorithm integer not null,
    -- Uses that the authenticator has counted; 0 if it counts none.
    counter integer not null,
    -- Whether it may be copied to other devices, and whether it was, when it was used last.
    backup_eligible integer not null,
    backed_up integer not null,
    -- How browsers reach the authenticator, in words with commas between them; a hint.
    transports text not null,
    name text not null,
    created_at_ms integer not null,
    used_at_ms integer
) strict;

create index passkey_account on passkey (account_id, created_at_ms);
