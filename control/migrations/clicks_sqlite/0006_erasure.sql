-- Erasures under way: clicks of a link (of a workspace) numbered below `below_seq` have left the
-- rollup already, and their rows are being deleted.
create table erasure (
    workspace integer not null,
    link integer not null,
    below_seq integer not null,
    primary key (workspace, link)
) strict, without rowid;

-- One row: clicks before detail_since_s have no rows any more, or will soon have none.
create table retention (
    one integer primary key check (one = 1),
    detail_since_s integer not null
) strict;
