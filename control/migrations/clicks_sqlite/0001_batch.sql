-- The ledger: which batches are stored. `autoincrement`, so that a number is never given twice,
-- even after old rows were pruned: clicks are numbered under it.
create table batch (
    id integer primary key autoincrement,
    token text not null unique,
    rows integer not null,
    clicks integer not null,
    made_at_ms integer not null,
    stored_at_ms integer not null
) strict;

create index batch_made_at on batch (made_at_ms);
