-- Clicks, and their rollup by link, lie in parts: consecutive times, each from a quarter hour up to
-- the next part's. What comes in is of a short time, so a batch changes the pages of one part or two;
-- in one tree over all times its clicks of many links would each change a page of their own.
-- `last_quarter` is the last one with clicks, `rows` how many came in. The first part begins at 0.
create table part (
    first_quarter integer primary key,
    last_quarter integer not null,
    rows integer not null
) strict;

insert into part (first_quarter, last_quarter, rows)
select min(quarter), max(quarter), sum(n)
from (
    select quarter, n, (sum(n) over (order by quarter) - n) / 131072 as number
    from (select quarter, sum(n) as n from workspace_quarter group by quarter)
)
group by number;

update part set first_quarter = 0 where first_quarter = (select min(first_quarter) from part);
insert into part (first_quarter, last_quarter, rows) values (0, 0, 0) on conflict do nothing;

alter table click rename to click_before;

-- One row per click. Within a part, a link's clicks lie side by side, and so do a workspace's links.
-- seq is batch.id * 2^18 + the row's place in the batch. visitor is an unsigned number's bits.
-- From referrer on, columns are numbers of names.
create table click (
    part integer not null,
    workspace integer not null,
    link integer not null,
    at_s integer not null,
    seq integer not null,
    domain integer not null,
    n integer not null,
    kind integer not null,
    via integer not null,
    variant integer not null,
    status integer not null,
    target_revision integer not null,
    visitor integer not null,
    privacy integer not null,
    channel integer not null,
    device integer not null,
    referrer integer not null,
    referrer_path integer not null,
    country integer not null,
    region integer not null,
    city integer not null,
    browser integer not null,
    browser_version integer not null,
    os integer not null,
    os_version integer not null,
    language integer not null,
    utm_source integer not null,
    utm_medium integer not null,
    utm_campaign integer not null,
    utm_term integer not null,
    utm_content integer not null,
    primary key (part, workspace, link, at_s, seq)
) strict, without rowid;

-- In the order of the new tree, so that its pages are written once and full.
insert into click
select
    (select max(first_quarter) from part where first_quarter <= at_s / 900),
    workspace, link, at_s, seq, domain, n, kind, via, variant, status, target_revision, visitor,
    privacy, channel, device, referrer, referrer_path, country, region, city, browser,
    browser_version, os, os_version, language, utm_source, utm_medium, utm_campaign, utm_term,
    utm_content
from click_before
order by 1, 2, 3, 4, 5;

drop table click_before;

alter table click_quarter rename to click_quarter_before;

-- Clicks per link, quarter hour (at_s / 900) and kind: zones are off by whole quarter hours.
-- The workspace is the owner at the time of the click.
-- visitors is a sketch of the people's visitors; empty for other kinds.
create table click_quarter (
    part integer not null,
    workspace integer not null,
    link integer not null,
    quarter integer not null,
    kind integer not null,
    n integer not null,
    last_at_s integer not null,
    visitors blob not null,
    primary key (part, workspace, link, quarter, kind)
) strict, without rowid;

insert into click_quarter
select
    (select max(first_quarter) from part where first_quarter <= quarter),
    workspace, link, quarter, kind, n, last_at_s, visitors
from click_quarter_before
order by 1, 2, 3, 4, 5;

drop table click_quarter_before;
