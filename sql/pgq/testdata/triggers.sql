create trigger a after insert or update or delete on many for each row execute function pgq.jsontriga('q', 'backup');
create trigger b after insert or update or delete on many for each row execute function pgq.logutriga('q', 'backup');
create trigger c after insert or update or delete on many for each row execute function pgq.sqltriga('q', 'backup');
create trigger d after insert or update or delete on many for each row
       execute function pgq.logutriga('q', 'ignore=t, vc,Up C');
create trigger e after insert or update or delete on many for each row
       execute function pgq.sqltriga('q', 'ignore=t,vc', 'pkey=id,k2');
create trigger f after insert or update or delete on many for each row
       execute function pgq.jsontriga('q', 'ignore=t,j,c5', 'ev_type=vc || ''x''', 'ev_extra1=''foo''',
                                      'ev_extra3=i2', 'ev_extra4=b', 'when=id is not null');
create trigger ta after truncate on many for each statement execute function pgq.jsontriga('q');
create trigger tb after truncate on many for each statement execute function pgq.logutriga('q');
create trigger tc after truncate on many for each statement execute function pgq.sqltriga('q');
