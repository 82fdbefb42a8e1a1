-- Times are milliseconds since 1970. `query_forward` is what `Forward` writes: nothing, a star, or
-- the names of parameters with commas between them. `tags` holds a link's tags, one per line;
-- link_tag finds links by them. `search` is what searching looks at, with case folded.
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
    created_by bigint not null references api_key (id)
);

create index link_newest on link (workspace_id, created_at_ms desc, id desc);

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
    set_by bigint not null references api_key (id),
    primary key (link_id, revision)
);
