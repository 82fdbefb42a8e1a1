-- Of many values `body` has those with the most clicks, and `rest` the others, each of which has no more
-- than any of them. A block from before has all in its body.
alter table workspace_block add column rest blob not null default x'';
alter table link_block add column rest blob not null default x'';

-- How many clicks a quarter hour has, without the sketch that lies beside them.
create index workspace_quarter_clicks on workspace_quarter (workspace, quarter, kind, n);
