-- Who is signed in where. The token is kept as its SHA-256 only, and changes while the session lasts.
create table session (
    id bigint primary key,
    account_id bigint not null references account (id),
    token_hash bytea not null unique,
    token_at_ms bigint not null,
    created_at_ms bigint not null,
    auth_at_ms bigint not null,
    second_factor boolean not null,
    remembered boolean not null,
    last_seen_at_ms bigint not null,
    idle_expires_at_ms bigint not null,
    expires_at_ms bigint not null,
    address text collate "C" not null,
    user_agent text collate "C" not null,
    revoked_at_ms bigint
);

create index session_account on session (account_id, last_seen_at_ms desc);

-- Tokens that were replaced. One that is used long after that was stolen: its session ends.
create table session_replaced (
    token_hash bytea primary key,
    session_id bigint not null references session (id) on delete cascade,
    replaced_at_ms bigint not null
);

create index session_replaced_session on session_replaced (session_id);
