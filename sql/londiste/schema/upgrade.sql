-- Runs after all functions exist. Before 3.7 foreign keys were restored by a function of
-- two arguments, which would hide the one of three. Source: contract/londiste.md 1.12.
do $do$
begin
    perform londiste.upgrade_schema();
    drop function if exists londiste.restore_table_fkey(text, text);
end;
$do$;
