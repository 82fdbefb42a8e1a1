-- Who looks after the installation in the dashboard, and not only on its machine.
alter table account add column is_operator boolean not null default false;

-- Whether an invitation went by mail, to its reader alone. Otherwise whoever invited was shown its link.
alter table invitation add column mailed boolean not null default false;

-- Which blocklists links follow, where several control planes have other ones: one row, the newest reading
-- of a plane that was heard of lately. `digest` is of what the files hold.
create table blocklist (
    id bigint primary key,
    digest bytea not null,
    changed_at_ms bigint not null,
    seen_at_ms bigint not null
);
