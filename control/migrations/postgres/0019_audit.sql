-- Who changed what, when, from where: written with the change, never changed itself. Without a
-- workspace it is of the installation or of an account. `action` is noun.verb. `detail` is JSON
-- without secrets.
create table audit (
    id bigint primary key,
    workspace_id bigint references workspace (id),
    at_ms bigint not null,
    account_id bigint references account (id),
    key_id bigint references api_key (id),
    action text collate "C" not null,
    object text collate "C" not null,
    address text collate "C" not null,
    request text collate "C" not null,
    detail text collate "C" not null
);

create index audit_workspace on audit (workspace_id, id desc);
create index audit_account on audit (account_id, id desc) where account_id is not null;
