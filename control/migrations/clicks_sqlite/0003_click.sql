-- One row per click, clustered by what reports ask for: a link's clicks of a time.
-- seq is batch.id * 2^18 + the row's place in the batch. referrer 0 is none.
create table click (
    link integer not null,
    at_s integer not null,
    seq integer not null,
    workspace integer not null,
    domain integer not null,
    n integer not null,
    kind integer not null,
    via integer not null,
    variant integer not null,
    status integer not null,
    target_revision integer not null,
    referrer integer not null,
    primary key (link, at_s, seq)
) strict, without rowid;
