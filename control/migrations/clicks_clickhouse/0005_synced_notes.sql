-- Power failing must not take away what was written down of rows that stay: a batch without its line in the ledger is
-- passed over by a backup and taken out by a move, and without the line of a retention the audit would take sums for
-- wrong whose rows are gone. Rows and rollup are synced since 0001.
alter table batch {on_cluster}
    modify setting fsync_after_insert = 1, fsync_part_directory = 1;
alter table erasure {on_cluster}
    modify setting fsync_after_insert = 1, fsync_part_directory = 1;
alter table retention {on_cluster}
    modify setting fsync_after_insert = 1, fsync_part_directory = 1;
