-- Who may do what in a workspace. `role`: 1 viewer, 2 editor, 3 admin, 4 owner.
create table member (
    workspace_id integer not null references workspace (id),
    account_id integer not null references account (id),
    role integer not null,
    created_at_ms integer not null,
    primary key (workspace_id, account_id)
) strict, without rowid;

create index member_account on member (account_id, created_at_ms);

-- Whom a workspace waits for. The token of the mail is kept as its SHA-256 only.
create table invitation (
    id integer primary key,
    workspace_id integer not null references workspace (id),
    email text not null,
    role integer not null,
    token_hash blob not null unique,
    invited_by integer references account (id),
    created_at_ms integer not null,
    expires_at_ms integer not null,
    accepted_at_ms integer,
    withdrawn_at_ms integer
) strict;

create index invitation_workspace on invitation (workspace_id, created_at_ms desc);

-- Disabled: edges answer 410 for its links, and its members and keys only read. Deleted: for good; it
-- stays disabled until each of its links is.
alter table workspace add column disabled_at_ms integer;
alter table workspace add column deleted_at_ms integer;
create index workspace_disabled on workspace (id) where disabled_at_ms is not null;
alter table link add column created_by_account integer references account (id);
alter table link_target add column set_by_account integer references account (id);
