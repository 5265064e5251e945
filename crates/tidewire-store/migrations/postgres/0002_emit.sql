-- `tidewire.emit`: an event in the transaction of whoever calls it, from any language. The same rows and the same checks
-- as the commit of a Rust service. It keeps to what 0001 asks of every writer: it locks the stream, draws the batch's
-- number after that, and leaves the batch without a position; a sequencer numbers it once it is committed.
--
-- Everything here is refused with a SQLSTATE of its own:
--   TW001  the stream has another version than was expected: load, decide, emit again
--   TW002  an event with this source and id is in the log already
--   TW101  an attribute is missing or not acceptable; the column named in the error is the attribute
--   TW102  the data is not acceptable
--   TW103  the event is too large
--   TW104  the data does not fit the schema of its type
-- TW001 and TW002 depend on what is in the log; the others never go away by trying again.

create type tidewire.emitted as (id text, sequence bigint);

create function tidewire.refuse(p_code text, p_attribute text, p_reason text, p_hint text default null) returns void
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
    end,
    hint = coalesce(p_hint, 'Nothing was written. Trying again cannot help: correct the call.'),
    schema = 'tidewire',
    column = p_attribute;
end $$;

-- The text attributes: not empty, not too long, no control characters and no non-characters.
create function tidewire.check_attribute(p_name text, p_value text, p_limit integer default 2048) returns void
language plpgsql as $$
begin
  if p_value = '' then
    perform tidewire.refuse('TW101', p_name, 'it is empty', 'Leave out what there is nothing to say about.');
  elsif octet_length(p_value) > p_limit then
    perform tidewire.refuse('TW101', p_name, format('%s bytes long; at most %s are taken', octet_length(p_value), p_limit));
  elsif p_value collate "C" ~ E'[\\u0001-\\u001f\\u007f-\\u009f\\ufdd0-\\ufdef\\ufffe\\uffff'
      '\\U0001fffe\\U0001ffff\\U0002fffe\\U0002ffff\\U0003fffe\\U0003ffff\\U0004fffe\\U0004ffff'
      '\\U0005fffe\\U0005ffff\\U0006fffe\\U0006ffff\\U0007fffe\\U0007ffff\\U0008fffe\\U0008ffff'
      '\\U0009fffe\\U0009ffff\\U000afffe\\U000affff\\U000bfffe\\U000bffff\\U000cfffe\\U000cffff'
      '\\U000dfffe\\U000dffff\\U000efffe\\U000effff\\U000ffffe\\U000fffff\\U0010fffe\\U0010ffff]' then
    perform tidewire.refuse('TW101', p_name, 'control characters and non-characters are not allowed');
  end if;
end $$;

create function tidewire.check_key(p_key text) returns void
language plpgsql as $$
begin
  if coalesce(p_key, '') = '' then
    perform tidewire.refuse('TW101', 'key', 'it is missing', 'The key is what events are kept in order by, such as `user/42`.');
  elsif octet_length(p_key) > 256 then
    perform tidewire.refuse('TW101', 'key', format('%s bytes long; at most 256 are taken', octet_length(p_key)));
  elsif p_key collate "C" ~ E'[\\u0001-\\u001f\\u007f-\\u009f]' then
    perform tidewire.refuse('TW101', 'key', 'control characters are not allowed');
  end if;
end $$;

-- The name and the version in `p_type` (`user.followed` or `user.followed.v2`) and `p_version`.
create function tidewire.event_type(p_type text, p_version integer, out name text, out version integer)
language plpgsql as $$
declare
  v_hint constant text :=
    'Expected a lower-case dotted name in the past tense, such as `user.followed` or `user.followed.v2`.';
  v_suffix text;
begin
  if coalesce(p_type, '') = '' then
    perform tidewire.refuse('TW101', 'type', 'it is missing', v_hint);
  elsif octet_length(p_type) > 128 then
    perform tidewire.refuse('TW101', 'type', format('%s bytes long; at most 128 are taken', octet_length(p_type)));
  end if;
  v_suffix := substring(p_type collate "C" from E'\\.v([0-9]+)$');
  name := left(p_type, length(p_type) - coalesce(length(v_suffix) + 2, 0));
  if name collate "C" !~ '^[a-z][a-z0-9]*([._-][a-z0-9]+)*$' then
    perform tidewire.refuse('TW101', 'type', 'it is no event type', v_hint);
  elsif v_suffix ~ '^0' or length(v_suffix) > 5 then
    perform tidewire.refuse('TW101', 'type', 'its version is not a number from 1 to 65535', v_hint);
  elsif p_version <> v_suffix::integer then
    perform tidewire.refuse('TW101', 'version', format('%s, but the type says %s', p_version, v_suffix));
  end if;
  version := coalesce(p_version, v_suffix::integer, 1);
  if version not between 1 and 65535 then
    perform tidewire.refuse('TW101', case when p_version is null then 'type' else 'version' end,
      'the version is not a number from 1 to 65535', v_hint);
  elsif octet_length(name || '.v' || version) > 128 then
    perform tidewire.refuse('TW101', 'type', 'with its version it is longer than 128 bytes');
  end if;
end $$;

-- Extension attributes: texts, 32-bit integers and booleans under names that are not taken.
create function tidewire.check_extensions(p_extensions jsonb) returns void
language plpgsql as $$
declare
  v_name text;
  v_value jsonb;
begin
  if jsonb_typeof(p_extensions) <> 'object' then
    perform tidewire.refuse('TW101', 'extensions', 'expected a JSON object');
  elsif (select count(*) from jsonb_object_keys(p_extensions)) > 32 then
    perform tidewire.refuse('TW101', 'extensions', 'at most 32 are taken');
  end if;
  for v_name, v_value in select e.key, e.value from jsonb_each(p_extensions) e loop
    if v_name collate "C" !~ '^[a-z0-9]{1,20}$' or v_name in (
      'id', 'source', 'specversion', 'type', 'subject', 'time', 'datacontenttype', 'dataschema', 'data', 'partitionkey',
      'sequence', 'correlationid', 'causationid', 'traceparent', 'recordedtime', 'expirytime', 'dataref', 'database64'
    ) then
      perform tidewire.refuse('TW101', 'extensions', format('%s is no name for one', to_json(left(v_name, 40))),
        'Names are 1 to 20 lower-case letters and digits, and not the name of another attribute.');
    end if;
    case jsonb_typeof(v_value)
      when 'string' then
        if v_value <> '""' then
          perform tidewire.check_attribute(v_name, v_value #>> '{}');
        end if;
      when 'boolean' then
        null;
      when 'number' then
        if v_value::text !~ '^-?[0-9]{1,10}$' or v_value::text::bigint not between -2147483648 and 2147483647 then
          perform tidewire.refuse('TW101', v_name, 'expected an integer of 32 bits');
        end if;
      else
        perform tidewire.refuse('TW101', v_name, 'expected a text, an integer of 32 bits or a boolean');
    end case;
  end loop;
end $$;

-- A moment that every other language can hold.
create function tidewire.check_moment(p_name text, p_moment timestamptz) returns void
language plpgsql as $$
begin
  if p_moment not between '0001-01-01 00:00:00+00' and '9999-12-31 23:59:59.999999+00' then
    perform tidewire.refuse('TW101', p_name, 'it is not between the years 1 and 9999');
  end if;
end $$;

create function tidewire.is_json_media_type(p_type text) returns boolean
language sql immutable parallel safe
return coalesce(
  lower(trim(split_part(p_type, ';', 1)) collate "C") similar to '((application|text)/json|_+[+]json)', true);

-- Whether arrays and objects nest deeper than `p_limit` in what is known to be JSON. Every pass takes the innermost.
create function tidewire.is_nested_deeper(p_json text, p_limit integer) returns boolean
language plpgsql immutable as $$
declare
  v_rest text := translate(p_json, '{[', '');
begin
  if length(p_json) - length(v_rest) <= p_limit then
    return false;
  end if;
  v_rest := regexp_replace(p_json, E'"[^"\\\\]*(?:\\\\.[^"\\\\]*)*"', '', 'g');
  v_rest := translate(regexp_replace(v_rest, E'[^][{}]+', '', 'g'), '{}', '[]');
  for n in 1..p_limit loop
    exit when v_rest = '';
    v_rest := replace(v_rest, '[]', '');
  end loop;
  return v_rest <> '';
end $$;

-- The bytes of the data, checked. `p_text` is the `data` of the call as text.
create function tidewire.check_data(p_text text, p_bytes bytea, p_is_json boolean, p_limit bigint) returns bytea
language plpgsql as $$
declare
  v_text text := p_text;
  v_bytes bytea := p_bytes;
begin
  if p_text is not null then
    if p_bytes is not null then
      perform tidewire.refuse('TW102', 'data', 'it excludes `data_bytes`');
    elsif not p_is_json then
      perform tidewire.refuse('TW102', 'data', 'by its `datacontenttype` it is not JSON', 'Give it as `data_bytes`.');
    end if;
    v_bytes := convert_to(v_text, 'UTF8');
  end if;
  if octet_length(v_bytes) > p_limit then
    perform tidewire.refuse('TW103', 'data', format('%s bytes; at most %s are taken', octet_length(v_bytes), p_limit),
      'Put the payload into the object store and emit a reference to it in `dataref`.');
  end if;
  if p_is_json and p_bytes is not null then
    begin
      v_text := convert_from(p_bytes, 'UTF8');
      perform v_text::json;
    exception
      when statement_too_complex then
        perform tidewire.refuse('TW102', 'data_bytes', 'nested too deep; at most 64 is taken');
      when data_exception then
        perform tidewire.refuse('TW102', 'data_bytes', 'it is not JSON', 'Say what it is in `datacontenttype`.');
    end;
  end if;
  if p_is_json and tidewire.is_nested_deeper(v_text, 64) then
    perform tidewire.refuse('TW102', 'data', 'nested too deep; at most 64 is taken');
  end if;
  return v_bytes;
end $$;

-- What of a JSON Schema `misfit` could not judge: the first keyword, or null. What nobody can judge must not pass for
-- judged. Patterns are taken where they mean the same in every dialect.
create function tidewire.unjudged(p_schema jsonb) returns text
language plpgsql immutable as $$
declare
  v_keyword text;
  v_value jsonb;
  v_inner text;
begin
  if jsonb_typeof(p_schema) = 'boolean' then
    return null;
  elsif jsonb_typeof(p_schema) <> 'object' then
    return 'a schema that is no object';
  end if;
  for v_keyword, v_value in select s.key, s.value from jsonb_each(p_schema) s loop
    case
      when v_keyword in ('$id', '$schema', '$comment', 'title', 'description', 'format', 'default', 'examples',
        'deprecated', 'readOnly', 'writeOnly', 'enum', 'const', 'required', 'type', 'minLength', 'maxLength', 'minimum',
        'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'minItems', 'maxItems', 'minProperties', 'maxProperties') then
        null;
      when v_keyword = 'pattern' then
        if v_value #>> '{}' !~ '^[]A-Za-z0-9 _.,:@/#[^$*+?(){}|-]+$' or v_value #>> '{}' like any (array['%[[%', '%[:%', '%[.%', '%(?%', '*%'])
          or regexp_replace(v_value #>> '{}', '[[][^]]*[]]', '', 'g') ~ '[.]' then
          return 'pattern';
        end if;
        begin
          perform '' ~ (v_value #>> '{}');
        exception when invalid_regular_expression then
          return 'pattern';
        end;
      when v_keyword = 'properties' then
        select min(tidewire.unjudged(p.value)) into v_inner from jsonb_each(v_value) p;
      when v_keyword in ('items', 'additionalProperties') then
        v_inner := tidewire.unjudged(v_value);
      else
        return v_keyword;
    end case;
    if v_inner is not null then
      return v_inner;
    end if;
  end loop;
  return null;
end $$;

-- What the data of each type must look like. Filled by the binary from its catalogue.
create table tidewire.schema (
  version integer not null check (version between 1 and 65535),
  name    text    collate "C" not null,
  schema  jsonb   not null check (tidewire.unjudged(schema) is null),
  primary key (name, version)
);

-- Where and how `p_data` does not fit a schema that can be judged: the first place, or null.
create function tidewire.misfit(p_schema jsonb, p_data jsonb, p_place text default '') returns text
language plpgsql immutable as $$
declare
  v_kind text := jsonb_typeof(p_data);
  v_at text := case p_place when '' then 'the data ' else p_place || ' ' end;
  v_text text := case when v_kind = 'string' then p_data #>> '{}' end;
  v_number numeric := case when v_kind = 'number' then p_data::text::numeric end;
  v_size integer;
  v_name text;
  v_value jsonb;
  v_found text;
begin
  if jsonb_typeof(p_schema) = 'boolean' then
    return case when p_schema = 'false' then v_at || 'is not allowed' end;
  end if;
  if p_schema ? 'type' and not exists (
    select from jsonb_array_elements_text(
      case jsonb_typeof(p_schema -> 'type') when 'array' then p_schema -> 'type' else jsonb_build_array(p_schema -> 'type') end
    ) t (kind)
    where t.kind = v_kind or t.kind = 'integer' and v_number = trunc(v_number)
  ) then
    return v_at || 'is not of type ' || (p_schema -> 'type')::text;
  end if;
  if p_schema ? 'enum' and not exists (select from jsonb_array_elements(p_schema -> 'enum') e (v) where e.v = p_data)
    or p_schema -> 'const' <> p_data then
    return v_at || 'is none of the values there are';
  end if;
  if v_kind = 'string' then
    if length(v_text) < (p_schema ->> 'minLength')::numeric or length(v_text) > (p_schema ->> 'maxLength')::numeric then
      return v_at || format('is %s characters long', length(v_text));
    elsif v_text collate "C" !~ (p_schema ->> 'pattern') then
      return v_at || 'does not match ' || (p_schema ->> 'pattern');
    end if;
  elsif v_kind = 'number' then
    if v_number < (p_schema ->> 'minimum')::numeric or v_number > (p_schema ->> 'maximum')::numeric
      or v_number <= (p_schema ->> 'exclusiveMinimum')::numeric or v_number >= (p_schema ->> 'exclusiveMaximum')::numeric then
      return v_at || 'is out of bounds';
    end if;
  elsif v_kind = 'array' then
    v_size := jsonb_array_length(p_data);
    if v_size < (p_schema ->> 'minItems')::numeric or v_size > (p_schema ->> 'maxItems')::numeric then
      return v_at || format('has %s items', v_size);
    end if;
    if p_schema ? 'items' then
      for v_name, v_value in select (a.n - 1)::text, a.v from jsonb_array_elements(p_data) with ordinality a (v, n) loop
        v_found := tidewire.misfit(p_schema -> 'items', v_value, p_place || '/' || v_name);
        exit when v_found is not null;
      end loop;
    end if;
  elsif v_kind = 'object' then
    select count(*) into v_size from jsonb_object_keys(p_data);
    if v_size < (p_schema ->> 'minProperties')::numeric or v_size > (p_schema ->> 'maxProperties')::numeric then
      return v_at || format('has %s members', v_size);
    end if;
    select r.name into v_name from jsonb_array_elements_text(p_schema -> 'required') r (name)
    where not p_data ? r.name limit 1;
    if v_name is not null then
      return v_at || format('lacks %s', to_json(v_name));
    end if;
    for v_name, v_value in select d.key, d.value from jsonb_each(p_data) d loop
      v_found := tidewire.misfit(
        coalesce(p_schema -> 'properties' -> v_name, p_schema -> 'additionalProperties', 'true'),
        v_value,
        p_place || '/' || left(replace(replace(v_name, '~', '~0'), '/', '~1'), 80)
      );
      exit when v_found is not null;
    end loop;
  end if;
  return v_found;
end $$;

-- Refuses data that does not fit `p_schema`, the schema of its type; null if there is none.
create function tidewire.check_schema(
  p_name text, p_version integer, p_schema jsonb, p_data jsonb, p_bytes bytea, p_is_json boolean
) returns void
language plpgsql as $$
declare
  v_type text := p_name || '.v' || p_version;
  v_data jsonb := coalesce(p_data, 'null');
  v_found text;
begin
  if p_schema is null then
    perform tidewire.refuse('TW104', 'data', format('there is no schema of `%s` to check it by', v_type));
  end if;
  if not p_is_json then
    perform tidewire.refuse('TW104', 'data', format('the data of `%s` is JSON', v_type));
  elsif p_data is null and p_bytes is not null then
    begin
      v_data := convert_from(p_bytes, 'UTF8')::jsonb;
    exception when data_exception then
      perform tidewire.refuse('TW104', 'data_bytes', 'it holds what cannot be checked here: U+0000, or half a surrogate pair');
    end;
  end if;
  v_found := tidewire.misfit(p_schema, v_data);
  if v_found is not null then
    perform tidewire.refuse('TW104', 'data', format('it does not fit `%s`: %s', v_type, v_found),
      format('The schema is served at /schemas/%s/v%s.json.', p_name, p_version));
  end if;
end $$;

-- The part of an event that goes into `attributes`.
create function tidewire.attributes(
  p_subject text, p_datacontenttype text, p_dataschema text, p_causationid text, p_traceparent text,
  p_expirytime timestamptz, p_dataref text, p_extensions jsonb
) returns jsonb
language sql stable
return nullif(jsonb_strip_nulls(jsonb_build_object(
  'subject', p_subject,
  'datacontenttype', p_datacontenttype,
  'dataschema', p_dataschema,
  'causationid', p_causationid,
  'traceparent', p_traceparent,
  'expirytime', to_char(p_expirytime at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
  'dataref', p_dataref,
  'extensions', nullif(p_extensions, '{}')
)), '{}');

-- Every attribute by its own rule, one after the other: names the first that is not acceptable. The name and the
-- version of the type if all are.
create function tidewire.check_attributes(
  p_type text, p_version integer, p_key text, p_id text, p_source text, p_subject text, p_correlationid text,
  p_causationid text, p_traceparent text, p_datacontenttype text, p_dataschema text, p_dataref text,
  p_time timestamptz, p_expirytime timestamptz, out name text, out version integer
)
language plpgsql as $$
begin
  select t.name, t.version into check_attributes.name, check_attributes.version
  from tidewire.event_type(p_type, p_version) t;
  perform tidewire.check_key(p_key);
  perform tidewire.check_attribute('id', p_id, 256);
  perform tidewire.check_attribute('source', p_source);
  if p_source collate "C" ~ E'[ \\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]' then
    perform tidewire.refuse('TW101', 'source', 'expected a URI reference without white space');
  end if;
  perform tidewire.check_attribute('subject', p_subject);
  perform tidewire.check_attribute('correlationid', p_correlationid);
  perform tidewire.check_attribute('causationid', p_causationid);
  perform tidewire.check_attribute('traceparent', p_traceparent);
  perform tidewire.check_attribute('datacontenttype', p_datacontenttype);
  perform tidewire.check_attribute('dataschema', p_dataschema);
  perform tidewire.check_attribute('dataref', p_dataref);
  perform tidewire.check_moment('time', p_time);
  perform tidewire.check_moment('expirytime', p_expirytime);
end $$;

-- Emits one event: it exists if and only if the calling transaction commits, and then has its place in the order of its
-- key, and a position as soon as a sequencer comes by. Answers its id and its version in the stream of its key.
--
-- The names of the arguments are those of CloudEvents; `time` is a word of SQL and needs quotes: "time" => now().
--   type              `user.followed`, or with the version of its schema `user.followed.v2`
--   key               the ordering unit, such as `user/42`: events of one key are delivered in the order of their commits
--   data              JSON, as PostgreSQL writes it; `data_bytes`: anything, byte for byte, of `datacontenttype`
--   version           the version of its schema, if the type does not say it; 1 by default
--   id                unique per source; a UUIDv7 by default. Give one to make a repeated call fail with TW002
--   source            the emitting service; by default the setting `tidewire.source`, and without one `/` and the role
--   expected_version  the version the stream must have, 0 for none yet; anything by default
--   correlationid     the flow it belongs to; by default a new one, named by its own id
--   check_schema      by default the data is checked if there is a schema of its type; true: there must be one; false: not
--
-- The stream of the key stays locked until the transaction ends: emit late in a long one. Two transactions that emit for
-- the same keys in different orders deadlock, and one of them is refused (40P01): emit in the order of the keys.
--
-- PL/pgSQL sets up every function and every expression anew in every transaction, which costs more than most of them do.
-- So what is usual is looked at here, in few expressions, and the functions above are called only where something may
-- be wrong: what is taken here they would take too.
create function tidewire.emit(
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
    (select s.schema from tidewire.schema s where s.name = v_name and s.version = v_version)
  into v_limit, v_schema;
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

-- Lets `p_role` emit, and nothing else: `emit` runs with the rights of its owner. To be called by the owner.
create function tidewire.allow_emit(p_role name) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  execute format('grant usage on schema tidewire to %I', p_role);
  execute format('grant execute on function tidewire.emit to %I', p_role);
end $$;

-- Takes it back.
create function tidewire.forbid_emit(p_role name) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  execute format('revoke execute on function tidewire.emit from %I', p_role);
  execute format('revoke usage on schema tidewire from %I', p_role);
end $$;

-- PostgreSQL lets everybody call new functions. A migration that adds one repeats this.
revoke all on all functions in schema tidewire from public;
