-- The log and everything that is committed together with it. Additive from here on: a released migration is
-- never edited. PostgreSQL 15 or later; everything lies in the schema `tidewire`.
--
-- How an event gets its position, and what every writer must keep to:
--
-- 1. LOCK. Whoever appends to a stream first locks its row in `stream` until his transaction ends (`lock_streams`,
--    `lock_stream`). Appends to one stream are thereby one after the other, and versions have no gaps.
-- 2. DRAW. Only then he draws the number of his batch (`nextval('tidewire.batch_id')`), inserts his events under it,
--    raises the streams' versions, and inserts the batch's row. Drawn before the lock, a batch would be numbered
--    before the one its writer waited for.
-- 3. NUMBER. Positions are given to whole batches, only while the row of `head` is locked `for update`, and only in
--    statements that begin after the lock was got, under READ COMMITTED: each then sees every batch that was
--    committed and every position that was given. A batch that commits late gets a late position; a batch that never
--    commits gets none. So positions have no gaps, and no reader who goes forward misses one.
--    Two batches of one stream: the second locked the stream after the first had committed, so whoever sees the
--    second sees the first, and its number is lower. They are numbered in that order.
-- 4. The lock on `head` is held for the shortest time there is: `seal` takes it as the last thing before the commit,
--    and not at all while somebody else has it. A transaction that stays open (`emit`, `commit_in`) never takes it: it
--    inserts its batch without a position, and a sequencer numbers it once it is committed.
-- 5. The position of an event is `batch.first_position + event.index`. Without a first position it is not in the log
--    yet: nobody reads it. Neither changes once it is given.
-- 6. No writer notifies: `notify` takes a lock on the whole database from then until the commit is on disk.
--
-- Texts sort by their bytes (`collate "C"`), as on every other backend. Moments that are compared are nanoseconds since
-- 1970 (`due`, `since`): a `timestamptz` keeps microseconds only.

create table tidewire.meta (
  name  text primary key,
  value text not null
);
-- The identity of this log: one that is restored under another identity or made anew is another log.
insert into tidewire.meta (name, value) values ('log_id', gen_random_uuid()::text);

-- One row: the last position that was given. Its lock is the right to give more.
create table tidewire.head (
  one           boolean primary key default true check (one),
  last_position bigint  not null default 0
) with (fillfactor = 10, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);
insert into tidewire.head default values;

-- One row per key. A stream that nobody appended to yet may be here with version 0.
create table tidewire.stream (
  version bigint not null default 0,
  key     text   collate "C" primary key
) with (fillfactor = 70);

-- `cache 1`: a number drawn later must be higher, whichever session draws it.
create sequence tidewire.batch_id as bigint cache 1;

-- One row per transaction that appended events.
create table tidewire.batch (
  id             bigint  primary key,
  first_position bigint,
  count          integer not null check (count > 0)
);
create unique index batch_position on tidewire.batch (first_position) where first_position is not null;
create index batch_unnumbered on tidewire.batch (id) where first_position is null;

-- One row per event, written once and never changed.
create table tidewire.event (
  batch        bigint      not null,
  version      bigint      not null,
  -- When it happened, to the microsecond, and what is left of it: 0 to 999 nanoseconds, and 1000 more within a leap
  -- second.
  time         timestamptz not null,
  recorded     timestamptz not null,
  -- Its place within the batch, from 0.
  index        integer     not null,
  type_version integer     not null,
  time_nanos   smallint    not null default 0,
  -- The first byte of the key's SHA-256, modulo 64 (`bucket`).
  bucket       smallint    not null,
  key          text        collate "C" not null,
  id           text        collate "C" not null,
  source       text        collate "C" not null,
  name         text        collate "C" not null,
  correlation  text        collate "C",
  -- Every attribute without a column: subject, datacontenttype, dataschema, causationid, traceparent, expirytime,
  -- dataref, and `extensions` as an object of texts, numbers and booleans. Null, if there is none.
  attributes   jsonb,
  data         bytea,
  primary key (batch, index)
);
create unique index event_version on tidewire.event (key, version);
create unique index event_id on tidewire.event (id, source);
-- Events that start a flow carry their own id: those are found through the index on ids.
create index event_correlation on tidewire.event (correlation) where correlation <> id;

create table tidewire.consumer (
  id       integer generated always as identity primary key,
  -- How often something was taken out of its parking: what it had decided may be open again.
  removals bigint  not null default 0,
  name     text    collate "C" not null unique
);

-- What each consumer has handled or parked. One index for both keeps an event from being both.
create table tidewire.inbox (
  consumer integer not null,
  parked   boolean not null default false,
  id       text    collate "C" not null,
  source   text    collate "C" not null,
  primary key (consumer, id, source)
);

create table tidewire.inbox_attempt (
  consumer integer not null,
  starts   integer not null,
  id       text    collate "C" not null,
  source   text    collate "C" not null,
  error    text,
  primary key (consumer, id, source)
);

create table tidewire.document (
  revision   bigint not null,
  collection text   collate "C" not null,
  id         text   collate "C" not null,
  value      bytea  not null,
  primary key (collection, id)
) with (fillfactor = 80);

-- A parked event has its row in `inbox` too. An ordinal that were used twice could take out the wrong event.
create table tidewire.parked (
  ordinal  bigint generated always as identity primary key,
  since    bigint  not null,
  consumer integer not null,
  attempts integer not null,
  key      text    collate "C" not null,
  id       text    collate "C" not null,
  source   text    collate "C" not null,
  code     text    not null,
  reason   text    not null,
  -- Everything but the data, as CloudEvents JSON.
  envelope text    not null,
  data     bytea
);
create unique index parked_event on tidewire.parked (consumer, id, source);
create index parked_key on tidewire.parked (consumer, key, ordinal);

create table tidewire.timer (
  due   bigint not null,
  owner text   collate "C" not null,
  id    text   collate "C" not null,
  key   text   collate "C" not null,
  data  bytea  not null,
  primary key (owner, id)
);
create index timer_due on tidewire.timer (owner, due);

-- state: 0 pending, 1 done, 2 failed.
create table tidewire.effect (
  ordinal  bigint   generated always as identity,
  due      bigint   not null,
  attempts integer  not null default 0,
  state    smallint not null default 0,
  id       text     collate "C" primary key,
  consumer text     not null,
  cause    text     not null,
  call     text     not null,
  error    text
);
create index effect_due on tidewire.effect (due, ordinal) where state = 0;

-- No owner: given up. Time is this server's.
create table tidewire.lease (
  epoch   bigint      not null,
  expires timestamptz not null,
  name    text        collate "C" primary key,
  owner   text
) with (fillfactor = 50, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);

create table tidewire.snapshot (
  version   bigint not null,
  aggregate text   collate "C" not null,
  key       text   collate "C" not null,
  state     bytea  not null,
  primary key (aggregate, key)
);

-- The bucket of a key, as every client computes it.
create function tidewire.bucket(p_key text) returns smallint
language sql immutable strict parallel safe
return (get_byte(sha256(convert_to(p_key, 'UTF8')), 0) % 64)::smallint;

-- The class of the advisory locks on keys that have no row in `stream` yet ("TWLG"): a row that somebody inserted and
-- did not commit cannot be skipped, only waited for. Whoever may take long holds it alone while his row is uncommitted;
-- whoever must not wait for him holds it shared or leaves the key out.
create function tidewire.birth_lock() returns integer language sql immutable parallel safe return 1415007303;

-- Locks one stream, however long that takes (`lock_timeout` bounds it), and answers its version.
create function tidewire.lock_stream(p_key text) returns bigint
language plpgsql strict set search_path = pg_catalog, pg_temp as $$
declare
  v_version bigint;
begin
  loop
    select s.version into v_version from tidewire.stream s where s.key = p_key for update;
    if found then
      return v_version;
    end if;
    perform pg_advisory_xact_lock(tidewire.birth_lock(), hashtext(p_key));
    insert into tidewire.stream (key) values (p_key) on conflict do nothing;
  end loop;
end $$;

-- Locks many streams, new ones included, and answers the versions of those it locked. Without `p_wait` those that
-- somebody else has locked, or is about to create, are left out; with it they are waited for, and one that vanished
-- meanwhile is left out.
-- `p_keys` must be sorted: two that wait for each other's streams would otherwise never end.
create function tidewire.lock_streams(p_keys text[], p_wait boolean)
returns table (locked_key text, locked_version bigint)
language plpgsql strict rows 100 set search_path = pg_catalog, pg_temp as $$
begin
  if p_wait then
    insert into tidewire.stream as s (key)
    select k.key from unnest(p_keys) with ordinality k (key, n)
    where not exists (select from tidewire.stream s where s.key = k.key)
    order by k.n
    on conflict do nothing;
    return query
      select s.key, s.version
      from unnest(p_keys) k (key) join tidewire.stream s on s.key = k.key
      order by s.key
      for update of s;
  else
    return query
      select s.key, s.version
      from unnest(p_keys) k (key) join tidewire.stream s on s.key = k.key
      for update of s skip locked;
    -- Every lock takes room that all sessions share. Of more new streams than these, the others are left out.
    return query
      with born as materialized (
        select k.key, k.n from unnest(p_keys) with ordinality k (key, n)
        where not exists (select from tidewire.stream s where s.key = k.key)
        order by k.n
        limit 1000
      )
      insert into tidewire.stream as s (key)
      select b.key from born b
      where pg_try_advisory_xact_lock_shared(tidewire.birth_lock(), hashtext(b.key))
      order by b.n
      on conflict do nothing
      returning s.key, 0::bigint;
  end if;
end $$;

-- Numbers the batches that are committed and have no position, lowest first, at most `p_limit`. The caller holds the
-- lock on `head`, got in an earlier statement, and gives its last position; the answer is the new one, and whether
-- there may be more to number.
create function tidewire.number(p_last bigint, p_limit integer, out last_position bigint, out is_more boolean)
language plpgsql strict set search_path = pg_catalog, pg_temp as $$
declare
  v_events bigint;
  v_batches bigint;
begin
  with waiting as materialized (
    select w.id, p_last + 1 + sum(w.count) over (order by w.id) - w.count as first_position
    from (
      select b.id, b.count from tidewire.batch b where b.first_position is null order by b.id limit p_limit
    ) w
  ), numbered as (
    update tidewire.batch b set first_position = w.first_position
    from waiting w where b.id = w.id
    returning b.count
  )
  select coalesce(sum(n.count), 0), count(*) into v_events, v_batches from numbered n;
  last_position := p_last + v_events;
  is_more := v_batches >= p_limit;
end $$;

-- The sequencer: gives positions to at most `p_limit` committed batches and answers how many events were numbered,
-- and the last position. To be called on its own, outside any longer transaction; any number of sessions may.
create function tidewire.sequence(p_limit integer, out events bigint, out last_position bigint, out is_more boolean)
language plpgsql strict set search_path = pg_catalog, pg_temp as $$
declare
  v_last bigint;
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'tidewire.sequence needs read committed: its statements must see what was committed before them';
  end if;
  select h.last_position into strict v_last from tidewire.head h where h.one for update;
  select n.last_position, n.is_more into last_position, is_more from tidewire.number(v_last, p_limit) n;
  events := last_position - v_last;
  if events > 0 then
    update tidewire.head h set last_position = sequence.last_position where h.one;
  end if;
end $$;

-- Ends a batch, as the last thing before the commit: with its position, if nobody else is giving any (the answer is its
-- first one), without one otherwise (null).
create function tidewire.seal(p_batch bigint, p_count integer) returns bigint
language plpgsql strict set search_path = pg_catalog, pg_temp as $$
declare
  v_last bigint;
  v_more boolean := true;
begin
  if current_setting('transaction_isolation') = 'read committed' then
    select h.last_position into v_last from tidewire.head h where h.one for update skip locked;
    if found then
      -- What others left without a position may be of the same streams, and then came before.
      select n.last_position, n.is_more into v_last, v_more from tidewire.number(v_last, 1000) n;
      update tidewire.head h set last_position = v_last + case when v_more then 0 else p_count end where h.one;
    end if;
  end if;
  if v_more then
    insert into tidewire.batch (id, count) values (p_batch, p_count);
    return null;
  end if;
  insert into tidewire.batch (id, first_position, count) values (p_batch, v_last + 1, p_count);
  return v_last + 1;
end $$;
