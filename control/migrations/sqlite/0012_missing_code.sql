-- Codes that visitors asked for and that do not exist: the most frequent of each domain. `requests`
-- is a lower bound: whenever a domain's list is full, all of its numbers go down and those at zero
-- leave. Times are those of the first and the last report, a minute at most behind the request.
create table missing_code (
    domain_id integer not null references domain (id) on delete cascade,
    code text not null,
    requests integer not null,
    first_seen_ms integer not null,
    last_seen_ms integer not null,
    primary key (domain_id, code)
) strict, without rowid;
