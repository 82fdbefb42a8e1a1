-- The rollup of a workspace's links together, by quarter hour and kind: inside the parts of the rollup by link, so never
-- out of step with it, whatever is repaired or erased there. A report on all links reads a few thousand rows instead of
-- nearly as many as there are clicks. Parts of before get it in the background.
alter table click_quarter {on_cluster}
    modify setting deduplicate_merge_projection_mode = 'rebuild';
alter table click_quarter {on_cluster}
    add projection if not exists of_workspace
    (select workspace, quarter, kind, sum(n), sum(imported), max(last_at), uniqCombined64MergeState(12)(visitors)
    group by workspace, quarter, kind);
alter table click_quarter {on_cluster}
    materialize projection of_workspace;
