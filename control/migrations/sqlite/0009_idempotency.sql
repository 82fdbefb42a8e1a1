-- Answers to requests that came with an Idempotency-Key; kept for a day.
create table idempotency (
    workspace_id integer not null references workspace (id),
    route text not null,
    key text not null,
    fingerprint blob not null,
    status integer not null,
    location text,
    etag text,
    body blob not null,
    created_at_ms integer not null,
    primary key (workspace_id, route, key)
) strict;

create index idempotency_created on idempotency (created_at_ms);
