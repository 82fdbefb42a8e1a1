-- Domains that people add: `state` 0 waits for its TXT record, 1 is verified, 2 was released. Several
-- may wait for one host, and one may serve it: only a verified domain has its host in `host`, which is
-- unique. The others have `#` and their id there, and their host in `claims`. `challenge` is what the
-- record must hold; `missing_since_ms` is since when it was not found any more. `home`, `not_found`,
-- `expired`: where visitors of /, of missing codes and of links that ended are sent; null is the
-- installation's page. `version` counts the changes of the row.
alter table domain add column state bigint not null default 1;
alter table domain add column claims text collate "C" not null default '';
alter table domain add column challenge text collate "C" not null default '';
alter table domain add column checked_at_ms bigint;
alter table domain add column verified_at_ms bigint;
alter table domain add column missing_since_ms bigint;
alter table domain add column home text collate "C";
alter table domain add column not_found text collate "C";
alter table domain add column expired text collate "C";
alter table domain add column folds_case boolean not null default false;
alter table domain add column version bigint not null default 1;
