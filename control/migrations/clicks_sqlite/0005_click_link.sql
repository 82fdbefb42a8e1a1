-- Clicks of each link: of people, of bots, and when a person last clicked (0: never). `batch` is the
-- last batch that touched it: what changed since a batch is one range.
create table click_link (
    link integer primary key,
    workspace integer not null,
    clicks integer not null,
    bots integer not null,
    last_at_s integer not null,
    batch integer not null
) strict;

create index click_link_batch on click_link (batch);
