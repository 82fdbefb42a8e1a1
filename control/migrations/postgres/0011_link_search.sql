-- Links that the index below does not know yet, or not as they are now. A task brings them into it;
-- until then a search looks at each of them.
create table link_unindexed (
    id bigint primary key
);

create function link_unindexed_note() returns trigger language plpgsql as $$
begin
    insert into link_unindexed (id) values (new.id) on conflict do nothing;
    return null;
end
$$;

create trigger link_unindexed_new after insert on link
for each row execute function link_unindexed_note();

create trigger link_unindexed_changed after update of search on link
for each row when (new.search <> old.search) execute function link_unindexed_note();

-- By a link's id, the numbers of what three characters stand in its text, and of its workspace. It
-- names links that may hold a text: who asks looks at `search`. Apart from the link, whose clicks
-- change often: each new version of a row is written into all of its indexes.
create table link_search (
    link_id bigint primary key,
    grams integer[] not null
);

create index link_search_grams on link_search using gin (grams);
