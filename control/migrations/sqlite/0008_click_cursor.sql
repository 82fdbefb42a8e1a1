-- Up to where the clicks of links were carried over from the store of clicks: one row. `batch` is
-- the ordinal of a batch there, and `link_id` the last of its links that is done.
create table click_cursor (
    id integer primary key check (id = 1),
    batch integer not null,
    link_id integer not null
) strict;

insert into click_cursor (id, batch, link_id) values (1, 0, 0);
