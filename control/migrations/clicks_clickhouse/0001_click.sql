-- Statements end with a semicolon at the end of a line, and each may be run again: a start that was
-- killed between two of them goes on with the first. {on_cluster}, {engine:X} and {window} are filled in:
-- nothing and MergeTree engines, or ON CLUSTER and replicated ones (control/src/click/clickhouse/schema.rs).

-- One row per click. Links lie side by side in time, months apart: a question about a link reads its
-- clicks of the months asked for and little else.
-- batch and row are a click's name: the hash of its batch's token, and its place in the batch. imported: it came from a
-- file, not from an edge. Where an edge writes numbers, kinds stay numbers: what they mean is in the program.
create table if not exists click {on_cluster}
(
    workspace Int64 codec(ZSTD(1)),
    link Int64 codec(ZSTD(1)),
    at DateTime('UTC') codec(Delta(4), ZSTD(1)),
    domain Int64 codec(ZSTD(1)),
    n UInt32 codec(ZSTD(1)),
    kind UInt8 codec(ZSTD(1)),
    via UInt8 codec(ZSTD(1)),
    variant UInt16 codec(ZSTD(1)),
    status UInt16 codec(ZSTD(1)),
    target_revision UInt32 codec(ZSTD(1)),
    visitor UInt64 codec(ZSTD(1)),
    privacy UInt8 codec(ZSTD(1)),
    channel UInt8 codec(ZSTD(1)),
    device UInt8 codec(ZSTD(1)),
    referrer LowCardinality(String),
    referrer_path LowCardinality(String),
    country LowCardinality(String),
    region LowCardinality(String),
    city LowCardinality(String),
    browser LowCardinality(String),
    browser_version LowCardinality(String),
    os LowCardinality(String),
    os_version LowCardinality(String),
    language LowCardinality(String),
    utm_source LowCardinality(String),
    utm_medium LowCardinality(String),
    utm_campaign LowCardinality(String),
    utm_term LowCardinality(String),
    utm_content LowCardinality(String),
    batch UInt64 codec(ZSTD(1)),
    row UInt32 codec(Delta(4), ZSTD(1)),
    imported UInt8 codec(ZSTD(1)),
    -- How many rows of which batch are in a part: in the part itself, so never out of step with it.
    projection of_batch
    (select batch, toStartOfFifteenMinutes(at) as quarter, count(), sum(n) group by batch, quarter)
)
engine = {engine:MergeTree}
partition by toYYYYMM(at)
order by (workspace, link, at)
settings index_granularity = 8192, {window}, fsync_after_insert = 1, fsync_part_directory = 1,
    deduplicate_merge_projection_mode = 'rebuild';

-- Clicks per link, quarter hour and kind: zones are off by whole quarter hours. What remains when
-- rows are too old. n is signed: a repair may take away.
create table if not exists click_quarter {on_cluster}
(
    workspace Int64 codec(ZSTD(1)),
    link Int64 codec(ZSTD(1)),
    quarter DateTime('UTC') codec(Delta(4), ZSTD(1)),
    kind UInt8 codec(ZSTD(1)),
    n SimpleAggregateFunction(sum, Int64) codec(ZSTD(1)),
    imported SimpleAggregateFunction(sum, Int64) codec(ZSTD(1)),
    last_at SimpleAggregateFunction(max, DateTime('UTC')) codec(ZSTD(1)),
    visitors AggregateFunction(uniqCombined64(12), UInt64) codec(ZSTD(1))
)
engine = {engine:AggregatingMergeTree}
partition by toYYYYMM(quarter)
order by (workspace, link, quarter, kind)
settings index_granularity = 8192, {window}, fsync_after_insert = 1, fsync_part_directory = 1;

create materialized view if not exists click_quarter_view {on_cluster} to click_quarter as
select
    workspace, link, toStartOfFifteenMinutes(at) as quarter, kind,
    sum(toInt64(click.n)) as n,
    sumIf(toInt64(click.n), click.imported != 0) as imported,
    max(at) as last_at,
    uniqCombined64StateIf(12)(visitor, kind = 0 and visitor != 0) as visitors
from click
group by workspace, link, quarter, kind;
