-- Statistics that whoever has an address may read: of a link, of the links with a tag (folded), or
-- of all of a workspace where both are empty. The address has a token: `token_hash` is its SHA-256,
-- by which it is found, and `token_sealed` the token itself, sealed, to be shown again. `password_hash`
-- is empty where none is asked for. `shown`: bit 0 sources, 1 places, 2 devices, 3 campaigns, 4 times
-- of the week, 5 links, 6 filters. One that is taken back has no row.
create table share (
    id bigint primary key,
    workspace_id bigint not null references workspace (id),
    link_id bigint references link (id),
    tag text collate "C" not null,
    name text collate "C" not null,
    token_hash bytea not null,
    token_sealed bytea not null,
    password_hash text collate "C" not null,
    shown bigint not null,
    created_at_ms bigint not null,
    expires_at_ms bigint
);

create unique index share_token on share (token_hash);
create index share_workspace on share (workspace_id, id desc);
