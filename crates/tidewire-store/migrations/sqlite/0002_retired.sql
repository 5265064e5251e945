-- The version a stream had when events of it were last retired: that of a stream whose events are all gone.
create table retired (
  stream  integer primary key,
  version integer not null
) strict;
