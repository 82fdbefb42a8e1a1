-- What is long over is forgotten, the oldest first.
create index invitation_expires on invitation (expires_at_ms);
create index report_closed on report (closed_at_ms) where closed_at_ms is not null;
