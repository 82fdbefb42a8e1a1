-- What spools of edges could not keep: of each spool its totals as they were at the end of a quarter of an hour (UTC), as
-- long as anything changed. Totals only grow; whatever comes twice or late leaves the highest.
create table click_loss (
    spool text collate "C" not null,
    quarter_s bigint not null,
    counted bigint not null,
    compacted bigint not null,
    dropped bigint not null,
    power bigint not null,
    damaged bigint not null,
    primary key (spool, quarter_s)
);
