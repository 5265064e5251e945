-- Who may emit what: rights per role, type and source. What was allowed before stays so.
--   TW105  the calling role has no right to emit this type, or not as this source

-- What a role, and who is a member of it, may emit. `types` is `*`, a name such as `order.placed`, or a prefix of names
-- that ends in `.*`; without a `source` it may name any. The role 0 is everybody who may call the function.
create table tidewire.emit_right (
  role   regrole not null,
  types  text    collate "C" not null check (types ~ '^([*]|[a-z][a-z0-9]*([._-][a-z0-9]+)*([.][*])?)$'),
  source text    collate "C",
  primary key (role, types)
);
insert into tidewire.emit_right (role, types)
select distinct a.grantee::regrole, '*'
from pg_proc p, aclexplode(p.proacl) a
where p.oid = to_regproc('tidewire.emit') and a.privilege_type = 'EXECUTE' and a.grantee <> p.proowner;

-- Whether `p_caller` may. The owner of `emit`, its members and superusers may everything. Only the house itself tells
-- what its operators did.
create function tidewire.may_emit(p_caller name, p_name text, p_source text) returns boolean
language sql stable
return pg_has_role(p_caller, current_user, 'member') or p_name <> 'operator.acted' and exists (
  select from tidewire.emit_right r
  where (r.types in ('*', p_name) or right(r.types, 2) = '.*' and starts_with(p_name, left(r.types, -1)))
    and (r.source is null or r.source = p_source)
    and (r.role::oid = 0 or pg_has_role(p_caller, r.role::oid, 'member'))
);

create or replace function tidewire.refuse(p_code text, p_attribute text, p_reason text, p_hint text default null) returns void
language plpgsql as $$
begin
  raise exception using
    errcode = p_code,
    message = format('`%s` is refused: %s', p_attribute, p_reason),
    detail = case p_code
      when 'TW101' then 'event.malformed: the attribute does not hold what it must.'
      when 'TW102' then 'event.malformed: the data does not hold what it must.'
      when 'TW103' then 'event.too_large: brokers have limits, and slow down far below them.'
      when 'TW104' then 'event.schema_invalid: the data does not fit the schema of its type.'
      when 'TW105' then 'auth.forbidden: the calling role has no right to this type and source.'
    end,
    hint = coalesce(p_hint, 'Nothing was written. Trying again cannot help: correct the call.'),
    schema = 'tidewire',
    column = p_attribute;
end $$;

-- Says what `p_caller` lacks.
create function tidewire.refuse_caller(p_caller name, p_name text, p_source text) returns void
language plpgsql as $$
declare
  v_own text := (
    select string_agg(distinct r.source, ', ')
    from tidewire.emit_right r
    where (r.types in ('*', p_name) or right(r.types, 2) = '.*' and starts_with(p_name, left(r.types, -1)))
      and (r.role::oid = 0 or pg_has_role(p_caller, r.role::oid, 'member'))
  );
begin
  if p_name <> 'operator.acted' and v_own is not null then
    perform tidewire.refuse('TW105', 'source', format('`%s` emits `%s` as %s, not as `%s`', p_caller, p_name, v_own, p_source),
      format('Leave `source` out after `alter role %I set tidewire.source = ...`, or name that one.', p_caller));
  end if;
  perform tidewire.refuse('TW105', 'type', format('`%s` may not emit `%s`', p_caller, p_name),
    'Whoever owns the function gives the right: select tidewire.allow_emit(role, types => ''{...}'').');
end $$;

-- As before, and the caller must have the right.
create or replace function tidewire.emit(
  type             text,
  key              text,
  data             jsonb       default null,
  data_bytes       bytea       default null,
  version          integer     default null,
  id               text        default null,
  source           text        default null,
  subject          text        default null,
  "time"           timestamptz default null,
  expected_version bigint      default null,
  correlationid    text        default null,
  causationid      text        default null,
  traceparent      text        default null,
  expirytime       timestamptz default null,
  datacontenttype  text        default null,
  dataschema       text        default null,
  dataref          text        default null,
  extensions       jsonb       default null,
  check_schema     boolean     default null
) returns tidewire.emitted
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  v_now timestamptz := clock_timestamp();
  v_micros bigint := extract(epoch from v_now) * 1000000;
  -- A UUIDv7: milliseconds, 12 bits of what is left of the microseconds, 62 random bits.
  v_id text := coalesce(emit.id, encode(
    substring(int8send(v_micros / 1000) from 3)
      || int2send((28672 + (v_micros % 1000) * 4096 / 1000)::smallint)
      || substring(uuid_send(gen_random_uuid()) from 9),
    'hex')::uuid::text);
  v_source text := coalesce(emit.source, nullif(current_setting('tidewire.source', true), ''), '/' || session_user);
  v_is_json boolean := emit.datacontenttype is null or tidewire.is_json_media_type(emit.datacontenttype);
  v_suffix text := substring(emit.type collate "C" from E'\\.v([1-9][0-9]{0,4})$');
  v_name text := left(emit.type, length(emit.type) - coalesce(length(v_suffix) + 2, 0));
  v_version integer := coalesce(emit.version, v_suffix::integer, 1);
  -- Every text attribute.
  v_texts text := concat(v_id, v_source, emit.key, emit.subject, emit.correlationid, emit.causationid, emit.traceparent,
    emit.datacontenttype, emit.dataschema, emit.dataref);
  v_text text := emit.data::text;
  v_data bytea := convert_to(v_text, 'UTF8');
  v_limit bigint;
  v_schema jsonb;
  v_may boolean;
  v_size bigint;
  v_attributes jsonb;
  v_raised bigint;
  v_batch bigint;
begin
  if (
    octet_length(emit.type) <= 120
    and v_name collate "C" ~ '^[a-z][a-z0-9]*(?:[._-][a-z0-9]+)*$' and v_name collate "C" !~ E'\\.v[0-9]+$'
    and v_version between 1 and 65535 and (v_version = v_suffix::integer) is not false
    and octet_length(emit.key) between 1 and 256
    and octet_length(v_id) between 1 and 256
    and v_source collate "C" ~ '^[!-~]+$'
    and octet_length(v_texts) <= 2048 and v_texts collate "C" ~ E'^[ -~\\u00a0-\\ufdcf]*$'
    and (
      emit.subject = '' or emit.correlationid = '' or emit.causationid = '' or emit.traceparent = ''
      or emit.datacontenttype = '' or emit.dataschema = '' or emit.dataref = ''
    ) is not true
    and (emit."time" between '0001-01-01 00:00:00+00' and '9999-12-31 23:59:59.999999+00') is not false
    and (emit.expirytime between '0001-01-01 00:00:00+00' and '9999-12-31 23:59:59.999999+00') is not false
  ) is not true then
    select t.name, t.version into v_name, v_version
    from tidewire.check_attributes(emit.type, emit.version, emit.key, v_id, v_source, emit.subject, emit.correlationid,
      emit.causationid, emit.traceparent, emit.datacontenttype, emit.dataschema, emit.dataref, emit."time",
      emit.expirytime) t;
  end if;
  if emit.extensions is not null then
    perform tidewire.check_extensions(emit.extensions);
  end if;
  if emit.expected_version < 0 then
    perform tidewire.refuse('TW101', 'expected_version', 'a version is 0 or more');
  end if;
  -- The most bytes an event may have on its way: what the relay could not publish must not get into the log. The binary
  -- writes its `broker.max_event_bytes` there; 256 KiB until it does.
  select
    coalesce((select m.value::bigint from tidewire.meta m where m.name = 'max_event_bytes'), 262144),
    (select s.schema from tidewire.schema s where s.name = v_name and s.version = v_version),
    session_user = current_user or tidewire.may_emit(session_user, v_name, v_source)
  into v_limit, v_schema, v_may;
  if not v_may then
    perform tidewire.refuse_caller(session_user, v_name, v_source);
  end if;
  -- Nothing nests deeper than 64 that opens no more.
  if emit.data_bytes is not null or not v_is_json or octet_length(v_data) > v_limit
    or octet_length(v_data) > 128 and length(v_text) - length(translate(v_text, '{[', '')) > 64 then
    v_data := tidewire.check_data(v_text, emit.data_bytes, v_is_json, v_limit);
  end if;
  if v_schema is not null and emit.check_schema is not false or emit.check_schema then
    perform tidewire.check_schema(v_name, v_version, v_schema, emit.data, v_data, v_is_json);
  end if;
  if num_nonnulls(emit.subject, emit.datacontenttype, emit.dataschema, emit.causationid, emit.traceparent,
    emit.expirytime, emit.dataref, emit.extensions) > 0 then
    v_attributes := tidewire.attributes(emit.subject, emit.datacontenttype, emit.dataschema, emit.causationid,
      emit.traceparent, emit.expirytime, emit.dataref, emit.extensions);
  end if;
  -- No byte of a text takes more than six in JSON, and the id may be in it twice; none of the data takes more than two,
  -- but for four at its end. What that leaves room for need not be measured.
  if 660 + 2 * coalesce(octet_length(v_data), 0) + 12 * octet_length(v_texts)
    + coalesce(octet_length(v_attributes::text), 0) > v_limit then
    -- As long as its JSON at most: 640 bytes of names, times and numbers; what is no JSON travels in base64.
    v_size := 640
      + coalesce(case when v_is_json then octet_length(v_data) else (octet_length(v_data) + 2) / 3 * 4 end, 0)
      + octet_length(to_json(v_id)::text) + octet_length(to_json(v_source)::text)
      + octet_length(to_json(emit.key)::text) + octet_length(to_json(coalesce(emit.correlationid, v_id))::text)
      + coalesce(octet_length(v_attributes::text), 0);
    if v_size > v_limit then
      perform tidewire.refuse('TW103', 'data', format('the event has %s bytes; at most %s are taken', v_size, v_limit),
        'Put the payload into the object store and emit a reference to it in `dataref`.');
    end if;
  end if;

  -- The lock on the stream, and its new version with it. One that is not there yet is born as `lock_stream` does it.
  loop
    update tidewire.stream s set version = s.version + 1 where s.key = emit.key returning s.version into v_raised;
    exit when found;
    perform pg_advisory_xact_lock(tidewire.birth_lock(), hashtext(emit.key));
    insert into tidewire.stream (key, version) values (emit.key, 1) on conflict do nothing returning 1 into v_raised;
    exit when found;
  end loop;
  if emit.expected_version <> v_raised - 1 then
    raise exception using
      errcode = 'TW001',
      message = format('`%s` is at version %s, expected %s', emit.key, v_raised - 1, emit.expected_version),
      detail = 'commit.conflict: somebody else was faster.',
      hint = 'Load the stream again, decide again, emit again.',
      schema = 'tidewire';
  end if;
  v_batch := nextval('tidewire.batch_id');
  insert into tidewire.event (
    batch, index, version, time, recorded, bucket, key, id, source, name, type_version, correlation, attributes, data
  ) values (
    v_batch, 0, v_raised, coalesce(emit."time", v_now), v_now,
    -- `bucket` of the key.
    (get_byte(sha256(convert_to(emit.key, 'UTF8')), 0) % 64)::smallint, emit.key, v_id, v_source,
    v_name, v_version, coalesce(emit.correlationid, v_id), v_attributes, v_data
  ) on conflict (id, source) do nothing;
  if not found then
    raise exception using
      errcode = 'TW002',
      message = format('an event with id `%s` is in the log already', v_id),
      detail = 'commit.conflict: the same source and id can name one event only.',
      hint = 'If this call repeats an earlier one, the event was emitted then. Otherwise give it another id.',
      schema = 'tidewire';
  end if;
  insert into tidewire.batch (id, count) values (v_batch, 1);
  return (v_id, v_raised)::tidewire.emitted;
end $$;

drop function tidewire.allow_emit(name);

-- Lets `p_role` emit, and nothing else: `emit` runs with the rights of its owner. `types` are names (`order.placed`) and
-- prefixes of names (`order.*`), all where there are none; with a `source` it must name that one. What was said of the
-- role before is forgotten. To be called by the owner.
create function tidewire.allow_emit(p_role name, types text[] default '{*}', source text default null) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
begin
  execute format('grant usage on schema tidewire to %I', p_role);
  execute format('grant execute on function tidewire.emit to %I', p_role);
  delete from tidewire.emit_right r where r.role = quote_ident(p_role)::regrole;
  insert into tidewire.emit_right (role, types, source)
  select distinct quote_ident(p_role)::regrole, t.types, allow_emit.source from unnest(allow_emit.types) t (types);
end $$;

-- Takes it back.
create or replace function tidewire.forbid_emit(p_role name) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  execute format('revoke execute on function tidewire.emit from %I', p_role);
  execute format('revoke usage on schema tidewire from %I', p_role);
  delete from tidewire.emit_right r where r.role = quote_ident(p_role)::regrole;
end $$;

revoke all on all functions in schema tidewire from public;
