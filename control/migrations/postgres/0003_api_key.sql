-- A key is kept as its SHA-256 only; `hint` is its last four characters, for people.
create table api_key (
    id bigint primary key,
    workspace_id bigint not null references workspace (id),
    name text collate "C" not null,
    hash bytea not null unique,
    hint text collate "C" not null,
    created_at_ms bigint not null,
    revoked_at_ms bigint
);
