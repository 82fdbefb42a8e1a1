-- Up to where the clicks of links were carried over from the store of clicks: one row. `batch` is
-- the ordinal of a batch there, and `link_id` the last of its links that is done.
create table click_cursor (
    id bigint primary key check (id = 1),
    batch bigint not null,
    link_id bigint not null
);

insert into click_cursor (id, batch, link_id) values (1, 0, 0);
