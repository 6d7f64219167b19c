insert into many (id, k2) values (1, 'a');
insert into many values (
    7, E'k\\''"x', 3, 1.5, 'infinity', 1.50, true, 'ab', 'v c', E'line\nnew\ttab\\ "q" ''s'' é €\x01', '\xdeadbeef',
    '2020-02-01', '2020-02-01 12:11:12.5', '2020-02-01 12:11:12.5+02', '01:02:03', '01:02:03+05',
    '1 year 2 days 03:04:05', '10.0.0.1', '10.0.0.0/8', '08:00:2b:01:02:03', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',
    '{"a" : 1}', '{"b": [1,2]}', '<a>x</a>', '{1,NULL,3}', '{"a b",NULL,"c\"d"}', '{2020-01-01}', '(1,2)', '[1,5)',
    '[2020-01-01,2021-01-01)', '{[1,3),[5,6)}', 7, '2020-02-01 12:11:12+00', true, 'c"d', '(1,"a b")', '10101', '110',
    'nm', 'c', 99, 'a fat cat', '0/16B3748', 'UP', 1, 2, E'b\\s', 3, 'é', 'usr', 63, false);
insert into many (id, k2, d, ts, tz, f8, f4, i2, ta)
values (8, 'inf', 'infinity', '-infinity', 'infinity', 'nan', '-0', 5, '{}'),
       (9, 'bc', '0044-03-15 BC', '0044-03-15 12:00 BC', '0044-03-15 12:00+00 BC', 0.1, 1e20, 6, '{{a,b},{c,d}}');
update many set t = 'x' where id = 7;
update many set t = t where id = 7;
update many set vc = null, co = null where id = 7;
update many set num = 1.5, c5 = 'ab ' where id = 7;
update many set j = '{"a":1}', pt = '(1,3)', ia = '{1,NULL,4}' where id = 7;
update many set i2 = i2 + 1, "Up C" = 'zz', "q""uo" = 5, jb = '{"b":[1, 2]}' where id in (7, 9);
delete from many where id <> 8;
truncate many;
