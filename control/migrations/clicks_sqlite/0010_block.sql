-- Breakdowns of times that are over, made behind the batches and thrown away by whatever changes clicks
-- of that time: never wrong, at most missing. A block is `level` quarter hours long and begins with
-- quarter hour `block * level`. `clicks` are those of people in it; `body` has them by the values of
-- a dimension. A block has all of its dimensions, or is not there.
create table workspace_block (
    workspace integer not null,
    level integer not null,
    block integer not null,
    dimension integer not null,
    clicks integer not null,
    body blob not null,
    primary key (workspace, level, block, dimension)
) strict, without rowid;

-- The same of links that have many clicks.
create table link_block (
    workspace integer not null,
    level integer not null,
    block integer not null,
    link integer not null,
    dimension integer not null,
    clicks integer not null,
    body blob not null,
    primary key (workspace, level, block, link, dimension)
) strict, without rowid;

-- One row. Blocks are of quarter hours before until_quarter alone; whatever changes clicks before it adds
-- one to `changes`, so that what was worked out meanwhile is not stored.
create table block_state (
    one integer primary key check (one = 1),
    until_quarter integer not null,
    changes integer not null
) strict;

insert into block_state (one, until_quarter, changes) values (1, 0, 0);
