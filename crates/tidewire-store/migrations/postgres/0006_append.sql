-- A group that does nothing but append, in one statement that is a transaction of its own: what 0001 asks of a writer, in
-- its order, without a round trip in between. It does all of it or nothing, and decides nothing: whatever is not plain
-- (a stream that somebody else has locked, one that is at another version than was expected) is refused with TW900, and
-- the group goes the long way.

-- Per stream: its key (sorted), the version it must have (null: any), and how many events it gets. Per event: the
-- stream's number in `p_keys` from 1, its place among that stream's events from 1, and its columns.
--
-- Answers the batch, and the position of its first event; without one if somebody else is giving positions.
create function tidewire.append(
  p_recorded timestamptz, p_keys text[], p_expected bigint[], p_added bigint[], p_stream integer[], p_place bigint[],
  p_bucket smallint[], p_id text[], p_source text[], p_name text[], p_type_version integer[], p_time timestamptz[],
  p_time_nanos smallint[], p_correlation text[], p_attributes text[], p_data bytea[],
  out batch bigint, out first_position bigint
)
language plpgsql as $$
#variable_conflict use_column
declare
  v_count integer := cardinality(p_id);
  v_locked integer;
  v_last bigint;
  v_expected boolean;
  v_more boolean := false;
begin
  -- Those that are there and free.
  select count(*), coalesce(bool_and(l.version = l.expected), true) into v_locked, v_expected
  from (
    select s.version, coalesce(k.expected, s.version) as expected
    from unnest(p_keys, p_expected) k (key, expected) join tidewire.stream s on s.key = k.key
    for update of s skip locked
  ) l;
  if v_locked < cardinality(p_keys) and v_expected then
    -- As `lock_streams` has them born.
    with born as materialized (
      select k.key, k.n from unnest(p_keys, p_expected) with ordinality k (key, expected, n)
      where coalesce(k.expected, 0) = 0 and not exists (select from tidewire.stream s where s.key = k.key)
      order by k.n
      limit 1000
    ), inserted as (
      insert into tidewire.stream as s (key)
      select b.key from born b
      where pg_try_advisory_xact_lock_shared(tidewire.birth_lock(), hashtext(b.key))
      order by b.n
      on conflict do nothing
      returning s.key
    )
    select v_locked + count(*) into v_locked from inserted;
  end if;
  if v_locked < cardinality(p_keys) or not v_expected then
    raise exception using errcode = 'TW900', message = 'not a plain append';
  end if;
  batch := nextval('tidewire.batch_id');
  with raised as (
    update tidewire.stream s set version = s.version + k.added
    from unnest(p_keys, p_added) with ordinality k (key, added, n) where s.key = k.key
    returning k.n, s.version - k.added as version
  )
  insert into tidewire.event (batch, index, recorded, key, version, bucket, id, source, name, type_version, time,
    time_nanos, correlation, attributes, data)
  select append.batch, e.n - 1, p_recorded, p_keys[e.stream], r.version + e.place, e.bucket, e.id, e.source, e.name,
    e.type_version, e.time, e.time_nanos, e.correlation, e.attributes::jsonb, e.data
  from unnest(p_stream, p_place, p_bucket, p_id, p_source, p_name, p_type_version, p_time, p_time_nanos, p_correlation,
    p_attributes, p_data) with ordinality e (stream, place, bucket, id, source, name, type_version, time, time_nanos,
    correlation, attributes, data, n)
  join raised r on r.n = e.stream;
  -- As `seal` does it: last, and in statements that begin after the lock was got.
  select h.last_position into v_last from tidewire.head h where h.one for update skip locked;
  if not found then
    insert into tidewire.batch (id, count) values (append.batch, v_count);
    return;
  end if;
  if exists (select from tidewire.batch b where b.first_position is null) then
    select n.last_position, n.is_more into v_last, v_more from tidewire.number(v_last, 1000) n;
  end if;
  if v_more then
    update tidewire.head h set last_position = v_last where h.one;
    insert into tidewire.batch (id, count) values (append.batch, v_count);
    return;
  end if;
  first_position := v_last + 1;
  with moved as (
    update tidewire.head h set last_position = v_last + v_count where h.one
  )
  insert into tidewire.batch (id, first_position, count) values (append.batch, append.first_position, v_count);
end $$;

revoke all on function tidewire.append from public;
