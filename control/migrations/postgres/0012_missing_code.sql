-- Codes that visitors asked for and that do not exist: the most frequent of each domain. `requests`
-- is a lower bound: whenever a domain's list is full, all of its numbers go down and those at zero
-- leave. Times are those of the first and the last report, a minute at most behind the request.
create table missing_code (
    domain_id bigint not null references domain (id) on delete cascade,
    code text collate "C" not null,
    requests bigint not null,
    first_seen_ms bigint not null,
    last_seen_ms bigint not null,
    primary key (domain_id, code)
);
