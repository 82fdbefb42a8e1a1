-- A key is kept as its SHA-256 only; `hint` is its last four characters, for people.
create table api_key (
    id integer primary key,
    workspace_id integer not null references workspace (id),
    name text not null,
    hash blob not null unique,
    hint text not null,
    created_at_ms integer not null,
    revoked_at_ms integer
) strict;
