-- The ledger: batches that were found whole after their insert. Rows may come twice.
create table if not exists batch {on_cluster}
(
    batch UInt64,
    token String,
    rows UInt32,
    clicks UInt64,
    made_ms Int64,
    stored_ms Int64
)
engine = {engine:MergeTree}
partition by toYYYYMM(fromUnixTimestamp64Milli(made_ms, 'UTC'))
order by batch
settings index_granularity = 1024, {window};

-- Which links a batch touched, or an erasure: what lists show is carried over in this order.
create table if not exists click_change {on_cluster}
(
    changed_ms Int64 codec(Delta(8), ZSTD(1)),
    workspace Int64 codec(ZSTD(1)),
    link Int64 codec(ZSTD(1))
)
engine = {engine:MergeTree}
partition by toYYYYMM(fromUnixTimestamp64Milli(changed_ms, 'UTC'))
order by (changed_ms, link)
settings index_granularity = 8192, {window};

-- Erasures of a link, or with link 0 of a workspace: clicks until then are gone, or are being deleted. A
-- second row says that they are gone.
create table if not exists erasure {on_cluster}
(
    workspace Int64,
    link Int64,
    at_ms Int64,
    is_done UInt8
)
engine = {engine:MergeTree}
order by (at_ms, workspace, link)
settings index_granularity = 1024, {window};

-- Clicks before detail_since_s have no rows any more, or will soon have none: the highest of them.
create table if not exists retention {on_cluster}
(
    detail_since_s Int64
)
engine = {engine:MergeTree}
order by detail_since_s
settings index_granularity = 1024, {window};
