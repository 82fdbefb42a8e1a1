-- That this database moves to another, or came from one: at most one row. `state` is 'leaving' or
-- 'left' where rows are taken from, 'arriving' or 'arrived' where they go; but for 'arrived', nobody
-- serves it. `token` is the same on both sides. `other` names the other database, without a password.
create table moving (
    id bigint primary key check (id = 1),
    state text collate "C" not null,
    token bigint not null,
    other text collate "C" not null,
    at_ms bigint not null
);
