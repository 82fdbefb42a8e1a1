-- Answers to requests that came with an Idempotency-Key; kept for a day.
create table idempotency (
    workspace_id bigint not null references workspace (id),
    route text collate "C" not null,
    key text collate "C" not null,
    fingerprint bytea not null,
    status bigint not null,
    location text,
    etag text,
    body bytea not null,
    created_at_ms bigint not null,
    primary key (workspace_id, route, key)
);

create index idempotency_created on idempotency (created_at_ms);
