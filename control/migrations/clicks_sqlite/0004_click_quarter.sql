-- Clicks per link, quarter hour (at_s / 900) and kind: zones are off by whole quarter hours.
-- The workspace is the owner at the time of the click; it leads, so that a workspace is one range.
-- visitors is a sketch of the people's visitors; empty for other kinds.
create table click_quarter (
    workspace integer not null,
    link integer not null,
    quarter integer not null,
    kind integer not null,
    n integer not null,
    last_at_s integer not null,
    visitors blob not null,
    primary key (workspace, link, quarter, kind)
) strict, without rowid;

-- The same over all links of a workspace: visitors of several links are not the sum of each one's.
create table workspace_quarter (
    workspace integer not null,
    quarter integer not null,
    kind integer not null,
    n integer not null,
    last_at_s integer not null,
    visitors blob not null,
    primary key (workspace, quarter, kind)
) strict, without rowid;
