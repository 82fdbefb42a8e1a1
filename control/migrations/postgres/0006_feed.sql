-- Where the numbering of changes stands: one row.
create table feed (
    id bigint primary key check (id = 1),
    epoch bigint not null,
    next_seq bigint not null
);

-- Which routes changed, in order, without gaps; kept for a day.
create table change (
    epoch bigint not null,
    seq bigint not null,
    domain_id bigint not null,
    code text collate "C" not null,
    version bigint not null,
    at_ms bigint not null,
    primary key (epoch, seq)
);
