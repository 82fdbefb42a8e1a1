create table referrer (
    id integer primary key,
    host text not null unique
) strict;
