-- Statistics that whoever has an address may read: of a link, of the links with a tag (folded), or
-- of all of a workspace where both are empty. The address has a token: `token_hash` is its SHA-256,
-- by which it is found, and `token_sealed` the token itself, sealed, to be shown again. `password_hash`
-- is empty where none is asked for. `shown`: bit 0 sources, 1 places, 2 devices, 3 campaigns, 4 times
-- of the week, 5 links, 6 filters. One that is taken back has no row.
create table share (
    id integer primary key,
    workspace_id integer not null references workspace (id),
    link_id integer references link (id),
    tag text not null,
    name text not null,
    token_hash blob not null,
    token_sealed blob not null,
    password_hash text not null,
    shown integer not null,
    created_at_ms integer not null,
    expires_at_ms integer
) strict;

create unique index share_token on share (token_hash);
create index share_workspace on share (workspace_id, id desc);
