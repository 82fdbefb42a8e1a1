-- A host on which codes are unique. Without a workspace it is shared by all.
create table domain (
    id integer primary key,
    host text not null unique,
    is_default integer not null,
    workspace_id integer references workspace (id),
    created_at_ms integer not null
) strict;

create unique index domain_default on domain (is_default) where is_default = 1;
