-- Of imported_clicks, those that were imported one by one since, as the store of clicks says: they
-- are among `clicks` now. May be more than imported_clicks, where a file has clicks that are not
-- among those.
alter table link add column moved_clicks bigint not null default 0;
