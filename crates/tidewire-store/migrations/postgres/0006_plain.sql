-- A group of plain commits, in one statement that is a transaction of its own: what 0001 asks of a writer, in its order,
-- without a round trip in between. It does all of it or nothing, and decides nothing: whatever is not plain (a stream that
-- somebody else has locked, a version, revision, epoch or mark that is not as was expected) is refused with TW900, and the
-- group goes the long way.

-- Commits without events cannot be recognised by what they wrote. So whoever commits them leaves a number here that only
-- goes up, by which the outcome is known when its answer is lost.
create table tidewire.receipt (
  number  bigint      not null,
  at      timestamptz not null default clock_timestamp(),
  session text        collate "C" primary key
) with (fillfactor = 50, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);

-- Leases that must be held; marks that are not there yet; per document its new value, and the revision it must have (0: it
-- is not there; null: any). Per stream its key (sorted), the version it must have (null: any), and how many events
-- it gets. Per event the stream's number in `p_keys` from 1, its place among that stream's events from 1, and its columns.
-- Without events: who commits, and the number of the receipt. `p_stays_open`: it is part of a transaction that may stay
-- open, which gives no positions, leaves no receipt, and makes no streams (`lock_stream` does).
--
-- Answers the batch, and the position of its first event; without one if somebody else is giving positions. Without
-- events: no batch, and the position after the last one.
create function tidewire.commit_plain(
  p_recorded timestamptz, p_session text, p_number bigint, p_stays_open boolean,
  p_leases text[], p_epochs bigint[],
  p_mark_consumer integer[], p_mark_id text[], p_mark_source text[],
  p_collection text[], p_document text[], p_revision bigint[], p_value bytea[],
  p_keys text[], p_expected bigint[], p_added bigint[], p_stream integer[], p_place bigint[], p_bucket smallint[],
  p_id text[], p_source text[], p_name text[], p_type_version integer[], p_time timestamptz[], p_time_nanos smallint[],
  p_correlation text[], p_attributes text[], p_data bytea[],
  out batch bigint, out first_position bigint
)
language plpgsql as $$
#variable_conflict use_column
declare
  v_found integer;
  v_last bigint;
  v_expected boolean;
  v_more boolean := false;
begin
  -- Leases come before streams, for everybody.
  if cardinality(p_leases) > 0 then
    select count(*) into v_found from (
      select from unnest(p_leases, p_epochs) f (name, epoch) join tidewire.lease l on l.name = f.name
      where l.epoch = f.epoch and l.owner is not null
      for share of l
    ) held;
    if v_found < cardinality(p_leases) then
      raise exception using errcode = 'TW900', message = 'not a plain commit: a lease is not held';
    end if;
  end if;
  if cardinality(p_keys) > 0 then
    -- Those that are there and free.
    select count(*), coalesce(bool_and(l.version = l.expected), true) into v_found, v_expected
    from (
      select s.version, coalesce(k.expected, s.version) as expected
      from unnest(p_keys, p_expected) k (key, expected) join tidewire.stream s on s.key = k.key
      for update of s skip locked
    ) l;
    if v_found < cardinality(p_keys) and v_expected and not p_stays_open then
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
      select v_found + count(*) into v_found from inserted;
    end if;
    if v_found < cardinality(p_keys) or not v_expected then
      raise exception using errcode = 'TW900', message = 'not a plain commit: a stream is locked, or moved on';
    end if;
  end if;
  if cardinality(p_mark_id) > 0 then
    insert into tidewire.inbox (consumer, parked, id, source)
    select m.consumer, false, m.id, m.source
    from unnest(p_mark_consumer, p_mark_id, p_mark_source) m (consumer, id, source)
    on conflict do nothing;
    get diagnostics v_found = row_count;
    if v_found < cardinality(p_mark_id) or exists (
      select from unnest(p_mark_consumer, p_mark_id, p_mark_source) m (consumer, id, source)
      join tidewire.inbox_attempt t on t.consumer = m.consumer and t.id = m.id and t.source = m.source
    ) then
      raise exception using errcode = 'TW900', message = 'not a plain commit: an event was handled, or tried before';
    end if;
  end if;
  if cardinality(p_document) > 0 then
    with given as materialized (
      select g.collection, g.id, g.revision, g.value, g.n
      from unnest(p_collection, p_document, p_revision, p_value) with ordinality g (collection, id, revision, value, n)
    ), updated as (
      update tidewire.document d set revision = d.revision + 1, value = g.value
      from given g
      where d.collection = g.collection and d.id = g.id and coalesce(g.revision, d.revision) = d.revision
      returning g.n
    ), inserted as (
      insert into tidewire.document (collection, id, revision, value)
      select g.collection, g.id, 1, g.value from given g
      where coalesce(g.revision, 0) = 0 and not exists (select from updated u where u.n = g.n)
      order by g.n
      on conflict do nothing
      returning 1
    )
    select (select count(*) from updated) + (select count(*) from inserted) into v_found;
    if v_found < cardinality(p_document) then
      raise exception using errcode = 'TW900', message = 'not a plain commit: a document is at another revision';
    end if;
  end if;
  if cardinality(p_keys) = 0 then
    if p_stays_open then
      return;
    end if;
    insert into tidewire.receipt as r (session, number) values (p_session, p_number)
    on conflict (session) do update set number = excluded.number, at = excluded.at;
    select h.last_position + 1 into first_position from tidewire.head h where h.one;
    return;
  end if;
  batch := nextval('tidewire.batch_id');
  with raised as (
    update tidewire.stream s set version = s.version + k.added
    from unnest(p_keys, p_added) with ordinality k (key, added, n) where s.key = k.key
    returning k.n, s.version - k.added as version
  )
  insert into tidewire.event (batch, index, recorded, key, version, bucket, id, source, name, type_version, time,
    time_nanos, correlation, attributes, data)
  select commit_plain.batch, e.n - 1, p_recorded, p_keys[e.stream], r.version + e.place, e.bucket, e.id, e.source, e.name,
    e.type_version, e.time, e.time_nanos, e.correlation, e.attributes::jsonb, e.data
  from unnest(p_stream, p_place, p_bucket, p_id, p_source, p_name, p_type_version, p_time, p_time_nanos, p_correlation,
    p_attributes, p_data) with ordinality e (stream, place, bucket, id, source, name, type_version, time, time_nanos,
    correlation, attributes, data, n)
  join raised r on r.n = e.stream;
  -- As `seal` does it: last, and in statements that begin after the lock was got.
  if not p_stays_open then
    select h.last_position into v_last from tidewire.head h where h.one for update skip locked;
  end if;
  if v_last is null then
    insert into tidewire.batch (id, count) values (commit_plain.batch, cardinality(p_id));
    return;
  end if;
  if exists (select from tidewire.batch b where b.first_position is null) then
    select n.last_position, n.is_more into v_last, v_more from tidewire.number(v_last, 1000) n;
  end if;
  if v_more then
    update tidewire.head h set last_position = v_last where h.one;
    insert into tidewire.batch (id, count) values (commit_plain.batch, cardinality(p_id));
    return;
  end if;
  first_position := v_last + 1;
  with moved as (
    update tidewire.head h set last_position = v_last + cardinality(p_id) where h.one
  )
  insert into tidewire.batch (id, first_position, count)
  values (commit_plain.batch, commit_plain.first_position, cardinality(p_id));
end $$;

-- The same as part of the transaction that is open, within one round trip. Not done, and nothing written, where it is not
-- plain, where anything fails, and where the transaction is none or cannot be used: who calls finds out why the long way.
-- A statement that is a transaction of its own begins when that does.
create function tidewire.join_plain(
  p_log_id text, p_leases text[], p_epochs bigint[],
  p_mark_consumer integer[], p_mark_id text[], p_mark_source text[],
  p_collection text[], p_document text[], p_revision bigint[], p_value bytea[],
  p_keys text[], p_expected bigint[], p_added bigint[], p_stream integer[], p_place bigint[], p_bucket smallint[],
  p_id text[], p_source text[], p_name text[], p_type_version integer[], p_time timestamptz[], p_time_nanos smallint[],
  p_correlation text[], p_attributes text[], p_data bytea[],
  out done boolean, out batch bigint
)
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
#variable_conflict use_column
begin
  done := false;
  if current_setting('transaction_isolation') = 'read committed' and statement_timestamp() > transaction_timestamp()
    and exists (select from tidewire.meta m where m.name = 'log_id' and m.value = p_log_id) then
    begin
      select c.batch into batch from tidewire.commit_plain(clock_timestamp(), null, 0, true, p_leases, p_epochs,
        p_mark_consumer, p_mark_id, p_mark_source, p_collection, p_document, p_revision, p_value, p_keys, p_expected,
        p_added, p_stream, p_place, p_bucket, p_id, p_source, p_name, p_type_version, p_time, p_time_nanos, p_correlation,
        p_attributes, p_data) c;
      done := true;
    exception when query_canceled or others then
      done := false;
    end;
  end if;
end $$;

revoke all on function tidewire.commit_plain, tidewire.join_plain from public;
