-- What spools of edges could not keep: of each spool its totals as they were at the end of a quarter of an hour (UTC), as
-- long as anything changed. Totals only grow; whatever comes twice or late leaves the highest.
create table click_loss (
    spool text not null,
    quarter_s integer not null,
    counted integer not null,
    compacted integer not null,
    dropped integer not null,
    power integer not null,
    damaged integer not null,
    primary key (spool, quarter_s)
) strict, without rowid;
