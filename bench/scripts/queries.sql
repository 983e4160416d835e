-- Inserts, two indexes and queries in SQLite, in memory: the workload sqlite of the benchmarks. Prints a checksum of
-- what is left at the end.
.output /dev/null
CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, kind INTEGER, price REAL);
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 600000)
INSERT INTO item SELECT i, printf('item %d of %s', i * 7919 % 600011, hex(i * 2654435761 % 4294967296)), i * 31 % 997, i % 1000 / 10.0 FROM n;
COMMIT;
CREATE INDEX item_name ON item (name);
CREATE INDEX item_kind ON item (kind, price);
SELECT kind, count(*), sum(price), min(name) FROM item GROUP BY kind;
SELECT a.name, b.name FROM item a JOIN item b ON b.kind = a.kind AND b.price = a.price WHERE a.id % 500 = 0 AND b.id > a.id;
SELECT substr(name, 1, 8) AS head, group_concat(id) FROM item WHERE id % 3 = 0 GROUP BY head ORDER BY length(name) DESC;
SELECT json_group_array(json_object('id', id, 'name', name, 'price', price)) FROM item WHERE id % 5 = 0 GROUP BY kind;
UPDATE item SET name = name || ' sold' WHERE kind < 100;
DELETE FROM item WHERE kind % 10 = 3;
.output stdout
SELECT 'checksum', count(*), sum(length(name)), sum(kind * id) FROM item;
