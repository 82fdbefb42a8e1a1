-- The mark of a store of clicks that moves, or moved: at most one row. state is leaving or left (to
-- `other`), arriving or arrived (from it); token is the same on both sides.
create table moving (
    id integer primary key check (id = 1),
    state text not null,
    token integer not null,
    other text not null,
    at_ms integer not null
) strict;
