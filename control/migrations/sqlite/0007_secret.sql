-- Random bytes that the installation keeps to itself: one row, made when the database is new.
create table secret (
    id integer primary key check (id = 1),
    cursor_key blob not null
) strict;
