-- Who changed what, when, from where: written with the change, never changed itself. Without a
-- workspace it is of the installation or of an account. `action` is noun.verb. `detail` is JSON
-- without secrets.
create table audit (
    id integer primary key,
    workspace_id integer references workspace (id),
    at_ms integer not null,
    account_id integer references account (id),
    key_id integer references api_key (id),
    action text not null,
    object text not null,
    address text not null,
    request text not null,
    detail text not null
) strict;

create index audit_workspace on audit (workspace_id, id desc);
create index audit_account on audit (account_id, id desc) where account_id is not null;
