-- Who owns links, domains and keys.
create table workspace (
    id bigint primary key,
    name text collate "C" not null,
    created_at_ms bigint not null
);
