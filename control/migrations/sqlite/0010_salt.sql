-- Keys of the numbers that stand for visitors, a day (UTC, since 1970) each: yesterday's, today's and
-- tomorrow's. Without its salt nobody can tell whom a number stands for.
create table salt (
    day integer primary key,
    key blob not null
) strict;
