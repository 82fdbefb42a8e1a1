-- What a key may do. Without an account it has no role to lose. `scopes`: their names with spaces
-- between them; a star is all. `domains`: ids, and `addresses`: blocks, with spaces; empty is any.
alter table api_key add column account_id integer references account (id);
alter table api_key add column scopes text not null default '*';
alter table api_key add column domains text not null default '';
alter table api_key add column addresses text not null default '';
alter table api_key add column expires_at_ms integer;
alter table api_key add column last_used_at_ms integer;
alter table api_key add column last_used_address text not null default '';
alter table api_key add column rate_per_minute integer;
alter table api_key add column replaced_by integer;

create index api_key_workspace on api_key (workspace_id, created_at_ms desc);
