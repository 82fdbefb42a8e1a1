-- Links that the index below does not know yet, or not as they are now. A task brings them into it;
-- until then a search looks at each of them.
create table link_unindexed (
    id integer primary key
) strict;

create trigger link_unindexed_new after insert on link begin
    insert into link_unindexed (id) values (new.id) on conflict do nothing;
end;

create trigger link_unindexed_changed after update of search on link when new.search <> old.search
begin
    insert into link_unindexed (id) values (new.id) on conflict do nothing;
end;

-- By a link's id, the numbers of what three characters stand in its text, and of its workspace, with
-- spaces between them. It names links that may hold a text: who asks looks at `search`. Places within
-- a text are not kept (detail=none), nor what was put in (content='').
create virtual table link_search using fts5 (
    grams, content = '', contentless_delete = 1, detail = none, tokenize = 'ascii'
);
