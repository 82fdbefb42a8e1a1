-- Of a link's clicks by people, those that came from files, ever: a link that was imported with a
-- count of its clicks has them in that count too.
alter table click_link add column imported integer not null default 0;
