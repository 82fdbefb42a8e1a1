-- Times are milliseconds since 1970. `query_forward` is what `Forward` writes: nothing, a star, or
-- the names of parameters with commas between them. `tags` holds a link's tags, one per line;
-- link_tag finds links by them. `search` is what searching looks at, with case folded. `clicks` and
-- `last_click_ms` (0: never) are carried over from the store of clicks: see click_cursor.
-- `created_by` is null for a link that was imported.
create table link (
    id bigint primary key,
    workspace_id bigint not null references workspace (id),
    domain_id bigint not null references domain (id),
    code text collate "C" not null,
    target text collate "C" not null,
    target_revision bigint not null,
    title text collate "C" not null,
    notes text collate "C" not null,
    tags text collate "C" not null,
    redirect_status bigint not null,
    max_age_s bigint not null,
    state bigint not null,
    archived boolean not null,
    not_before_ms bigint,
    expires_at_ms bigint,
    fallback text collate "C",
    query_forward text collate "C" not null,
    query_visitor_wins boolean not null,
    search text collate "C" not null,
    version bigint not null,
    created_at_ms bigint not null,
    updated_at_ms bigint not null,
    deleted_at_ms bigint,
    created_by bigint references api_key (id),
    clicks bigint not null default 0,
    last_click_ms bigint not null default 0
);

-- The orders of lists. An id begins with the millisecond in which its link was made.
create index link_newest on link (workspace_id, id desc);
create index link_most_clicks on link (workspace_id, clicks desc, id desc);
create index link_last_click on link (workspace_id, last_click_ms desc, id desc);
-- States that few links are in: without these, to find them is to look at all.
create index link_disabled on link (workspace_id, id desc) where state = 2;
create index link_deleted on link (workspace_id, id desc) where deleted_at_ms is not null;
create index link_archived on link (workspace_id, id desc) where archived = true;

-- Which links have a tag. `tag` is folded to one case.
create table link_tag (
    workspace_id bigint not null references workspace (id),
    tag text collate "C" not null,
    link_id bigint not null references link (id),
    primary key (workspace_id, tag, link_id)
);

create index link_tag_link on link_tag (link_id);

-- Every target of a link that has had more than one. A link that never changed has no row: what it
-- leads to is in its own, and most links never change.
create table link_target (
    link_id bigint not null references link (id),
    revision bigint not null,
    target text collate "C" not null,
    set_at_ms bigint not null,
    set_by bigint references api_key (id),
    primary key (link_id, revision)
);
