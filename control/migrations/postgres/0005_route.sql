-- What a code leads to. A row is never removed: a deleted code keeps its row, with state 0, so that
-- its version goes on growing and nobody else takes it. `link_id` then names the link it led to,
-- and outlives that link's row: there is no foreign key.
create table route (
    domain_id bigint not null references domain (id),
    code text collate "C" not null,
    link_id bigint not null,
    workspace_id bigint not null references workspace (id),
    state bigint not null,
    version bigint not null,
    primary key (domain_id, code)
);
