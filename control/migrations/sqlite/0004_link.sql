-- Times are milliseconds since 1970. `query_forward` is what `Forward` writes: nothing, a star, or
-- the names of parameters with commas between them. `tags` holds a link's tags, one per line;
-- link_tag finds links by them. `search` is what searching looks at, with case folded.
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
    created_by integer not null references api_key (id)
) strict;

create index link_newest on link (workspace_id, created_at_ms desc, id desc);

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
    set_by integer not null references api_key (id),
    primary key (link_id, revision)
) strict, without rowid;
