-- Who looks after the installation in the dashboard, and not only on its machine.
alter table account add column is_operator integer not null default 0;

-- Whether an invitation went by mail, to its reader alone. Otherwise whoever invited was shown its link.
alter table invitation add column mailed integer not null default 0;

-- Which blocklists links follow, where several control planes have other ones: one row, the newest reading
-- of a plane that was heard of lately. `digest` is of what the files hold.
create table blocklist (
    id integer primary key,
    digest blob not null,
    changed_at_ms integer not null,
    seen_at_ms integer not null
) strict;
