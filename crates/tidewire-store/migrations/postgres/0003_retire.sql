-- Retiring the oldest events. What one transaction appended goes together: a batch is removed when its last event lies
-- at or before the position. Writers insert elsewhere and are never waited for; the rest is vacuum's.

-- The oldest position there is; 1 in an empty log.
create function tidewire.first_position() returns bigint
language sql stable
return coalesce((
  select b.first_position from tidewire.batch b where b.first_position is not null order by b.first_position limit 1
), 1);

-- Removes batches up to `p_until`, oldest first: as many as hold at most `p_limit` events, but at least one. The last
-- batch of the log stays. To be called on its own; two that do so at once remove the same, once.
create function tidewire.retire(p_until bigint, p_limit integer, out events bigint, out first bigint)
language plpgsql strict set search_path = pg_catalog, pg_temp as $$
declare
  v_batches bigint[];
begin
  select array_agg(o.id) into v_batches
  from (
    select b.id, b.count, sum(b.count) over (order by b.first_position) as through
    from (
      select b.id, b.first_position, b.count
      from tidewire.batch b, tidewire.head h
      where b.first_position is not null
        and b.first_position + b.count - 1 <= least(p_until, h.last_position - 1)
      order by b.first_position
      limit p_limit
    ) b
  ) o
  where o.through <= p_limit or o.through = o.count;
  delete from tidewire.event e where e.batch = any (v_batches);
  get diagnostics events = row_count;
  delete from tidewire.batch b where b.id = any (v_batches);
  first := tidewire.first_position();
end $$;

revoke all on all functions in schema tidewire from public;
