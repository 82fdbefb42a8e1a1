-- One dictionary for the names of all details; 0 is none.
create table name (
    id integer primary key,
    text text not null unique
) strict;

insert into name (id, text) values (0, '');
