-- Partitions by inheritance, made on demand by workers that route rows.
-- Source: contract/londiste.md 1.11, 5.4.

-- Makes a partition like its parent: columns, constraints, indexes, owner, grants, triggers
-- and rules. With a field it holds the rows of one period, by the session's time zone.
-- i_pkeys is accepted and not used. Returns 1; 0 when a relation of that name exists.
create or replace function londiste.create_partition(
    i_table text,
    i_part text,
    i_pkeys text,
    i_part_field text,
    i_part_time timestamptz,
    i_part_period text)
returns integer
language plpgsql
as $$
declare
    v_table text := londiste.quote_fqname(londiste.make_fqname(i_table));
    v_part text := londiste.quote_fqname(londiste.make_fqname(i_part));
    v_parent oid;
    v_start timestamptz;
    v_row record;
begin
    -- One at a time; readers and writers of table_info do not mind.
    lock table londiste.table_info in share update exclusive mode;
    if to_regclass(v_part) is not null then
        return 0;
    end if;
    v_parent := v_table::regclass;

    execute format('create table %s (like %s including all) inherits (%s)', v_part, v_table, v_table);
    execute format('alter table %s owner to %I', v_part,
        (select pg_catalog.pg_get_userbyid(relowner) from pg_catalog.pg_class where oid = v_parent));

    if i_part_field <> '' then
        v_start := date_trunc(i_part_period, i_part_time);
        execute format('alter table %s add check (%I >= %L and %I < %L)', v_part,
            i_part_field, to_char(v_start, 'YYYY-MM-DD HH24:MI:SS'),
            i_part_field, to_char(v_start + ('1 ' || i_part_period)::interval, 'YYYY-MM-DD HH24:MI:SS'));
    end if;

    for v_row in
        select case when a.grantee = 0 then 'public' else quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) end as grantee,
               a.is_grantable,
               string_agg(a.privilege_type, ', ' order by a.privilege_type) as privileges
          from pg_catalog.pg_class c
         cross join lateral pg_catalog.aclexplode(c.relacl) a
         where c.oid = v_parent
           and a.grantee <> c.relowner
         group by a.grantee, a.is_grantable
         order by 1
    loop
        execute format('grant %s on %s to %s%s', v_row.privileges, v_part, v_row.grantee,
            case when v_row.is_grantable then ' with grant option' else '' end);
    end loop;

    for v_row in
        select t.tgname, t.tgenabled, pg_catalog.pg_get_triggerdef(t.oid) as def
          from pg_catalog.pg_trigger t
         where t.tgrelid = v_parent
           and not t.tgisinternal
         order by t.tgname
    loop
        execute londiste._retarget(v_row.def, v_parent, v_part);
        if v_row.tgenabled <> 'O' then
            execute format('alter table %s %s trigger %I', v_part,
                case v_row.tgenabled
                when 'D' then 'disable'
                when 'A' then 'enable always'
                else 'enable replica'
                end, v_row.tgname);
        end if;
    end loop;

    for v_row in
        select r.rulename, r.ev_enabled, pg_catalog.pg_get_ruledef(r.oid) as def
          from pg_catalog.pg_rewrite r
         where r.ev_class = v_parent
         order by r.rulename
    loop
        execute londiste._retarget(v_row.def, v_parent, v_part);
        if v_row.ev_enabled <> 'O' then
            execute format('alter table %s %s rule %I', v_part,
                case v_row.ev_enabled
                when 'D' then 'disable'
                when 'A' then 'enable always'
                else 'enable replica'
                end, v_row.rulename);
        end if;
    end loop;
    return 1;
end;
$$;

-- The definition of a trigger or rule, made for another table: the server writes its table
-- with the schema, for the first time after ON (triggers) or TO (rules). Internal.
create or replace function londiste._retarget(i_def text, i_table oid, i_new text)
returns text
language plpgsql
stable
strict
as $$
declare
    v_old text;
    v_at integer;
begin
    select quote_ident(n.nspname) || '.' || quote_ident(c.relname) into v_old
      from pg_catalog.pg_class c
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where c.oid = i_table;
    v_at := coalesce(
        nullif(strpos(i_def, ' ON ' || v_old || ' '), 0),
        nullif(strpos(i_def, ' TO ' || v_old || ' '), 0));
    if v_at is null then
        raise exception 'cannot find table % in: %', v_old, i_def;
    end if;
    return overlay(i_def placing i_new from v_at + 4 for length(v_old));
end;
$$;

-- What the names of a period's partitions look like after the parent's name: a regular
-- expression and the to_char format of the suffix. Raises for another period. Internal.
create or replace function londiste._partition_suffix(
    i_partition_period text,
    out pattern text,
    out format text)
returns record
language plpgsql
immutable
as $$
begin
    pattern := '_[0-9]{4}';
    format := '_YYYY';
    if i_partition_period in ('year', 'yearly') then
        return;
    end if;
    pattern := pattern || '_[0-9]{2}';
    format := format || '_MM';
    if i_partition_period in ('month', 'monthly') then
        return;
    end if;
    pattern := pattern || '_[0-9]{2}';
    format := format || '_DD';
    if i_partition_period in ('day', 'daily') then
        return;
    end if;
    pattern := pattern || '_[0-9]{2}';
    format := format || '_HH24';
    if i_partition_period in ('hour', 'hourly') then
        return;
    end if;
    raise exception 'not supported i_partition_period: %', i_partition_period;
end;
$$;

-- Whether a partition, by its name, is older than the retention. NULL when the name does not
-- end as the period's names do.
create or replace function londiste.is_obsolete_partition(
    i_partition_table text,
    i_retention_period interval,
    i_partition_period text)
returns boolean
language plpgsql
as $$
declare
    v_suffix record;
    v_found text;
begin
    select * into v_suffix from londiste._partition_suffix(i_partition_period);
    v_found := substring(i_partition_table from v_suffix.pattern || '$');
    return v_found < to_char(now() - i_retention_period, v_suffix.format);
end;
$$;

-- The partitions of a parent that are older than the retention, quoted, by name.
create or replace function londiste.list_obsolete_partitions(
    i_parent_table text,
    i_retention_period interval,
    i_partition_period text)
returns setof text
language plpgsql
as $$
declare
    v_suffix record;
    v_parent record;
begin
    select * into v_suffix from londiste._partition_suffix(i_partition_period);
    select * into v_parent from londiste.split_fqname(londiste.make_fqname(i_parent_table));
    return query
    select quote_ident(t.schemaname) || '.' || quote_ident(t.tablename)
      from pg_catalog.pg_tables t
     where t.schemaname = v_parent.schema_part
       and starts_with(t.tablename, v_parent.name_part)
       and substr(t.tablename, length(v_parent.name_part) + 1) ~ ('^' || v_suffix.pattern || '$')
       and londiste.is_obsolete_partition(t.tablename, i_retention_period, i_partition_period)
     order by 1;
end;
$$;

-- Drops the partitions that list_obsolete_partitions names, and returns them.
create or replace function londiste.drop_obsolete_partitions(
    i_parent_table text,
    i_retention_period interval,
    i_partition_period text)
returns setof text
language plpgsql
as $$
declare
    v_part text;
begin
    for v_part in
        select p.name
          from londiste.list_obsolete_partitions(i_parent_table, i_retention_period, i_partition_period) p (name)
    loop
        execute 'drop table ' || v_part;
        return next v_part;
    end loop;
end;
$$;
