-- A table with columns of many types and names, and what happens to it.
create domain posint as int;
create domain moment as timestamptz;
create domain truth as bool;
create type mood as enum ('a b', 'c"d');
create type comp as (x int, y text);

create table many (
    id int8, k2 varchar(10), i2 int2, f4 float4, f8 float8, num numeric(10, 4), b bool, c5 char(5), vc varchar(20),
    t text, bin bytea, d date, ts timestamp, tz timestamptz, ti time, tiz timetz, iv interval, ip inet, net cidr,
    mac macaddr, u uuid, j json, jb jsonb, x xml, ia int[], ta text[], da date[], pt point, r int4range,
    tr tstzrange, mr int4multirange, dom posint, dd moment, db truth, mo mood, co comp, bit5 bit(5), vb varbit,
    nm name, ch "char", o oid, tsv tsvector, lsn pg_lsn, "Up C" text, "q""uo" int, "a.b" int, "back\slash" text,
    "sp ace" int, "é" text, "user" text,
    "a name of exactly sixty-three bytes, which is all that there is" int, gone int, last bool,
    primary key (k2, id));
alter table many drop column gone;
