-- Where the numbering of changes stands: one row.
create table feed (
    id integer primary key check (id = 1),
    epoch integer not null,
    next_seq integer not null
) strict;

-- Which routes changed, in order, without gaps; kept for a day.
create table change (
    epoch integer not null,
    seq integer not null,
    domain_id integer not null,
    code text not null,
    version integer not null,
    at_ms integer not null,
    primary key (epoch, seq)
) strict, without rowid;
