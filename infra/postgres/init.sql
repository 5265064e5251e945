-- Runs once, as superuser, in the database `tidewire` when the volume is empty. psql reads it, not a driver.

-- The role Tidewire connects as. It owns its schema and nothing else, and is not the owner of the database.
\set password `cat /run/secrets/tidewire-password`
create role tidewire login nosuperuser nocreatedb nocreaterole noreplication nobypassrls
    connection limit 160
    password :'password';

-- In every session, whatever a client sets up or forgets.
alter role tidewire in database tidewire set search_path = tidewire;
alter role tidewire in database tidewire set idle_in_transaction_session_timeout = '60s';

-- Without this, every role of the server may connect and make objects.
revoke all on database tidewire from public;
revoke all on database postgres from public;
revoke all on database template1 from public;
revoke all on schema public from public;

-- `create`: migrations begin with `create schema if not exists`, which needs it even where the schema is there.
grant connect, create on database tidewire to tidewire;
create schema tidewire authorization tidewire;

-- A service in another language gets a role of its own. It may emit, and read or change nothing:
--   create role billing login password '…';
--   grant connect on database tidewire to billing;
--   grant usage on schema tidewire to billing;
--   grant execute on function tidewire.emit to billing;
