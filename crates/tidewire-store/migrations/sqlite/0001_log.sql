-- The log and everything that is committed together with it. Additive from here on: a released migration is
-- never edited.
--
-- Identifiers of events are 16-byte blobs when they are canonical UUIDs, text otherwise. Moments are
-- nanoseconds since 1970 where 64 bits hold them, RFC 3339 text otherwise (`any` columns).

create table meta (
  name  text primary key not null,
  value any
) strict, without rowid;

-- One row per key. A stream's version is the highest one in `event`: keeping it here as well would cost an
-- update per append.
create table stream (
  id  integer primary key,
  key text not null unique
) strict;

-- One row per event, in commit order. The writer hands out positions, so they have no gaps.
create table event (
  position     integer primary key,
  stream       integer not null,
  version      integer not null,
  bucket       integer not null,
  id           any     not null,
  source       text    not null,
  name         text    not null,
  type_version integer not null,
  time         any     not null,
  recorded     any     not null,
  -- 0: its own id, as for every event that starts a flow. Those are found through the index on ids.
  correlation  any,
  attributes   text,
  data         blob,
  crc          integer not null
) strict;
create unique index event_version on event (stream, version);
create unique index event_id on event (id, source);
-- Text and blobs sort above numbers: only events that continue a flow are in here.
create index event_correlation on event (correlation) where correlation > 0;

create table consumer (
  id   integer primary key,
  name text not null unique
) strict;

create table inbox (
  consumer integer not null,
  id       any     not null,
  source   text    not null,
  primary key (consumer, id, source)
) strict, without rowid;

create table inbox_attempt (
  consumer integer not null,
  id       any     not null,
  source   text    not null,
  starts   integer not null,
  error    text,
  primary key (consumer, id, source)
) strict, without rowid;

create table document (
  collection text    not null,
  id         text    not null,
  revision   integer not null,
  value      blob    not null,
  primary key (collection, id)
) strict, without rowid;

-- `autoincrement`, because an ordinal that were used twice could take out the wrong event.
create table parked (
  ordinal  integer primary key autoincrement,
  consumer integer not null,
  key      text    not null,
  id       any     not null,
  source   text    not null,
  envelope text    not null,
  data     blob,
  code     text    not null,
  reason   text    not null,
  attempts integer not null,
  since    integer not null,
  crc      integer not null
) strict;
create unique index parked_event on parked (consumer, id, source);
create index parked_key on parked (consumer, key, ordinal);

create table timer (
  owner text    not null,
  id    text    not null,
  key   text    not null,
  due   integer not null,
  data  blob    not null,
  primary key (owner, id)
) strict, without rowid;
create index timer_due on timer (owner, due);

-- state: 0 pending, 1 done, 2 failed.
create table effect (
  id       text    primary key not null,
  consumer text    not null,
  cause    text    not null,
  call     text    not null,
  state    integer not null default 0,
  attempts integer not null default 0,
  due      integer not null,
  error    text
) strict;
create index effect_due on effect (due) where state = 0;

-- No owner: given up.
create table lease (
  name    text    primary key not null,
  owner   text,
  epoch   integer not null,
  expires integer not null
) strict, without rowid;

create table snapshot (
  aggregate text    not null,
  key       text    not null,
  version   integer not null,
  state     blob    not null,
  primary key (aggregate, key)
) strict, without rowid;
