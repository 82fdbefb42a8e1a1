-- Random bytes that the installation keeps to itself: one row, made when the database is new.
create table secret (
    id bigint primary key check (id = 1),
    cursor_key bytea not null
);
