-- Who owns links, domains and keys.
create table workspace (
    id integer primary key,
    name text not null,
    created_at_ms integer not null
) strict;
