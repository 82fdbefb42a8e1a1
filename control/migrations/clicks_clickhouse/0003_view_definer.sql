-- The view writes the rollup with the rights of who owns the schema, whoever inserts clicks: an edge may insert into
-- click, and no more. A server may be set up so that it does not say so by itself.
alter table click_quarter_view {on_cluster}
    modify sql security definer definer = current_user;
