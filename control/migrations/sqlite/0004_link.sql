-- Times are milliseconds since 1970. `query_forward` is what `Forward` writes: nothing, a star, or
-- the names of parameters with commas between them. `tags` holds a link's tags, one per line;
-- link_tag finds links by them. `search` is what searching looks at, with case folded. `clicks` and
-- `last_click_ms` (0: never) are carried over from the store of clicks: see click_cursor.
-- `created_by` is null for a link that was imported.
create table link (
    id integer primary key,
    workspace_id integer not null references workspace (id),
    domain_id integer not null references domain (id),
    code text not null,
    target text not null,
    target_revision integer not null,
    title text not null,
    notes text not null,
    tags text not null,
    redirect_status integer not null,
    max_age_s integer not null,
    state integer not null,
    archived integer not null,
    not_before_ms integer,
    expires_at_ms integer,
    fallback text,
    query_forward text not null,
    query_visitor_wins integer not null,
    search text not null,
    version integer not null,
    created_at_ms integer not null,
    updated_at_ms integer not null,
    deleted_at_ms integer,
    created_by integer references api_key (id),
    clicks integer not null default 0,
    last_click_ms integer not null default 0
) strict;

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
    workspace_id integer not null references workspace (id),
    tag text not null,
    link_id integer not null references link (id),
    primary key (workspace_id, tag, link_id)
) strict, without rowid;

create index link_tag_link on link_tag (link_id);

-- Every target of a link that has had more than one. A link that never changed has no row: what it
-- leads to is in its own, and most links never change.
create table link_target (
    link_id integer not null references link (id),
    revision integer not null,
    target text not null,
    set_at_ms integer not null,
    set_by integer references api_key (id),
    primary key (link_id, revision)
) strict, without rowid;
