-- One row per setting where the server is a standby: its value for new sessions, and how it
-- changes. What may hold a secret is left out. Of primary_conninfo the value is where it
-- leads, and open is all of it, where that is no secret; of restore_command only whether
-- there is one.
with settings as (
    select *
      from pg_catalog.pg_settings
     where pg_catalog.pg_is_in_recovery()
       and name <> 'ssl_passphrase_command'
       and not (name like '%.%' and vartype = 'string')
       and (current_setting('skytools.only', true) is null or current_setting('skytools.only', true) in ('', name))
), place as (
    select regexp_replace(reset_val, '\m(ssl)?password\s*=\s*(''(?:[^''\\]|\\.)*''|\S*)', '', 'gi') as open
      from settings
     where name = 'primary_conninfo'
)
select jsonb_build_object(
           'name', name,
           'value', case name
                        when 'restore_command' then case when reset_val = '' then '' else 'a command' end
                        when 'primary_conninfo' then (
                            select case when open = '' then ''
                                        when open ~* '^postgres(ql)?://' then 'a URL'
                                        else 'host=' || coalesce(substring(open from '(?i)\mhost\s*=\s*''((?:[^''\\]|\\.)*)'''), substring(open from '(?i)\mhost\s*=\s*(\S+)'), '')
                                             || ' port=' || coalesce(substring(open from '(?i)\mport\s*=\s*''?(\d+)'), '5432')
                                   end
                              from place)
                        else reset_val
                    end,
           'open', case when name = 'primary_conninfo' and reset_val !~* '^postgres(ql)?://' then (select open from place where open = reset_val) end,
           'unit', unit,
           'type', vartype,
           'context', context,
           'source', source,
           'pending', pending_restart)
  from settings
