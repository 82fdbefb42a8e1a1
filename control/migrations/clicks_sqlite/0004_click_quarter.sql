-- Clicks per link, quarter hour (at_s / 900) and kind: zones are off by whole quarter hours.
-- The workspace is the owner at the time of the click; it leads, so that a workspace is one range.
create table click_quarter (
    workspace integer not null,
    link integer not null,
    quarter integer not null,
    kind integer not null,
    n integer not null,
    last_at_s integer not null,
    primary key (workspace, link, quarter, kind)
) strict, without rowid;
