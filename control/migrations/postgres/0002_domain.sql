-- A host on which codes are unique. Without a workspace it is shared by all.
create table domain (
    id bigint primary key,
    host text collate "C" not null unique,
    is_default boolean not null,
    workspace_id bigint references workspace (id),
    created_at_ms bigint not null
);

create unique index domain_default on domain (is_default) where is_default;
