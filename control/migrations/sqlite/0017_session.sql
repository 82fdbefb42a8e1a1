-- Who is signed in where. The token is kept as its SHA-256 only, and changes while the session lasts.
create table session (
    id integer primary key,
    account_id integer not null references account (id),
    token_hash blob not null unique,
    token_at_ms integer not null,
    created_at_ms integer not null,
    auth_at_ms integer not null,
    second_factor integer not null,
    remembered integer not null,
    last_seen_at_ms integer not null,
    idle_expires_at_ms integer not null,
    expires_at_ms integer not null,
    address text not null,
    user_agent text not null,
    revoked_at_ms integer
) strict;

create index session_account on session (account_id, last_seen_at_ms desc);

-- Tokens that were replaced. One that is used long after that was stolen: its session ends.
create table session_replaced (
    token_hash blob primary key,
    session_id integer not null references session (id) on delete cascade,
    replaced_at_ms integer not null
) strict;

create index session_replaced_session on session_replaced (session_id);
