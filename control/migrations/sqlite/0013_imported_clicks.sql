-- Clicks that a link had before it was imported: counted elsewhere, with no rows here.
alter table link add column imported_clicks integer not null default 0;
