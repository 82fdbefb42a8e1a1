create table link (
    id integer primary key,
    workspace_id integer not null references workspace (id),
    domain_id integer not null references domain (id),
    code text not null,
    target text not null,
    target_revision integer not null,
    title text not null,
    redirect_status integer not null,
    state integer not null,
    not_before_ms integer,
    expires_at_ms integer,
    version integer not null,
    created_at_ms integer not null,
    updated_at_ms integer not null,
    created_by integer not null references api_key (id)
) strict;

create index link_newest on link (workspace_id, created_at_ms desc, id desc);
