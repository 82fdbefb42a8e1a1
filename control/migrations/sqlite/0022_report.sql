-- What the public reports as abuse. `state`: 0 open, 1 dismissed, 2 acted on. `contact` is emptied
-- once a report is closed.
create table report (
    id integer primary key,
    workspace_id integer not null references workspace (id),
    link_id integer not null references link (id),
    short_url text not null,
    reason integer not null,
    comment text not null,
    contact text not null,
    state integer not null,
    created_at_ms integer not null,
    closed_at_ms integer
) strict;

create index report_open on report (state, id desc);
create index report_link on report (link_id, id desc);
create index report_workspace on report (workspace_id, id desc);

-- Why a link is taken down, while its state is 3: bit 0 by an operator, bit 1 because a list of hosts
-- has its target. `blocked_from` is the state that it gets back.
alter table link add column blocked integer not null default 0;
alter table link add column blocked_from integer not null default 1;

create index link_blocked on link (id) where blocked <> 0;
