select 'ä'
