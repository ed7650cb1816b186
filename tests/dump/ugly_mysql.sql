SET NAMES utf8mb4;
SET sql_mode = '';
CREATE DATABASE ugly CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_as_ci;
CREATE DATABASE second CHARACTER SET latin1;
CREATE TABLE second.small (a INT PRIMARY KEY);
INSERT INTO second.small VALUES (1), (2), (3);
CREATE TABLE second.other (a INT);
USE ugly;

CREATE TABLE customers (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(40) UNIQUE) ENGINE=InnoDB;
INSERT INTO customers (name) VALUES ('é中😀'), ('a\tb\nc\\d\0e\r'), (''), (NULL), (NULL), ('\\N'), ('NULL');
CREATE TABLE orders (id INT AUTO_INCREMENT PRIMARY KEY, customer INT, amount DECIMAL(20,6),
  twice DECIMAL(20,6) AS (amount * 2) VIRTUAL, thrice DECIMAL(20,6) AS (amount * 3) STORED, secret INT DEFAULT 7 INVISIBLE,
  KEY of_twice (twice), KEY hidden (secret) INVISIBLE, KEY last_first (amount DESC, id),
  CONSTRAINT to_customer FOREIGN KEY (customer) REFERENCES customers (id),
  CONSTRAINT positive CHECK (amount > -1000),
  CONSTRAINT not_meant CHECK (amount < 0) NOT ENFORCED) ENGINE=InnoDB COMMENT='COLLATE nonsense ENGINE=none `';
INSERT INTO orders (customer, amount, secret)
  WITH RECURSIVE counted (seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM counted WHERE seq < 5000)
  SELECT 1 + seq % 7, seq / 7, seq FROM counted;
ANALYZE TABLE orders UPDATE HISTOGRAM ON amount, customer WITH 16 BUCKETS;
ANALYZE TABLE customers UPDATE HISTOGRAM ON name WITH 4 BUCKETS AUTO UPDATE;
CREATE TABLE all_computed (a INT AS (1 + 1) VIRTUAL, b INT AS (a + 1) STORED);
INSERT INTO all_computed () VALUES (), (), ();

CREATE TABLE types (
  b BIT(9), b64 BIT(64), t TINYINT, u BIGINT UNSIGNED, f FLOAT, fd FLOAT(7,3), d DOUBLE, dd DOUBLE(12,4), n DECIMAL(65,30),
  da DATE, dt DATETIME(6), ts TIMESTAMP(6) NULL, ti TIME(6), y YEAR,
  bi BINARY(5), vb VARBINARY(300), bl LONGBLOB, tx LONGTEXT, e ENUM('x', '', 'it''s', 'a,"b`\\c'), s SET('a', 'b c', 'it''s'),
  j JSON, v VECTOR(3)) ENGINE=InnoDB;
INSERT INTO types VALUES
  (b'101010101', ~0, -128, 18446744073709551615, 0.1, 1234.567, 1/3, 99999999.9999, 0.123456789012345678901234567891,
   '0000-00-00', '9999-12-31 23:59:59.999999', '2038-01-19 03:14:07.999999', '-838:59:59.999999', 2155,
   x'00090a5c0d', x'00ff275c0a09', REPEAT(x'00ff5c', 100000), REPEAT('ä\n\t\\😀', 200000), 'it''s', 'a,b c,it''s',
   '{"a": [1, "\\u00e9", 1.0, 18446744073709551615, null, true], "": "\\\\ \\" \\n 😀"}', STRING_TO_VECTOR('[1,-2.5,3e-20]')),
  (b'0', 0, 127, 0, 3.402823e38, -0.001, -1.7976931348623157e308, 0, -1,
   '2020-02-30', '0000-00-00 00:00:00', '1970-01-01 00:00:01', '00:00:00.000001', 0,
   '', '', '', '', 'not a value', '', '[]', STRING_TO_VECTOR('[0]')),
  (NULL, NULL, NULL, NULL, 1.17549e-38, NULL, 2.2250738585072014e-308, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '', 'a,"b`\\c', NULL, NULL, NULL);
CREATE TABLE typed_json (j JSON);
INSERT INTO typed_json VALUES (CAST(TIMESTAMP'2020-01-02 03:04:05.678' AS JSON)), (CAST('"a"' AS JSON)), (JSON_OBJECT('k', CAST(x'00ff' AS CHAR CHARACTER SET latin1)));
CREATE TABLE places (id INT PRIMARY KEY, here POINT NOT NULL SRID 4326, anywhere GEOMETRY, plane GEOMETRYCOLLECTION SRID 0, SPATIAL KEY (here));
INSERT INTO places VALUES
  (1, ST_GeomFromText('POINT(52.5 13.4)', 4326), ST_GeomFromText('POLYGON((0 0,9 0,9 9,0 0))', 3857), ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 2),LINESTRING(0 0,1 1))')),
  (2, ST_GeomFromText('POINT(-90 180)', 4326), NULL, NULL);
CREATE TABLE charsets (l VARCHAR(20) CHARACTER SET latin1, u2 VARCHAR(20) CHARACTER SET ucs2, u16 VARCHAR(20) CHARACTER SET utf16,
  u32 VARCHAR(20) CHARACTER SET utf32, gb VARCHAR(20) CHARACTER SET gbk, sj VARCHAR(20) CHARACTER SET sjis, bg VARCHAR(20) CHARACTER SET big5,
  g4 VARCHAR(20) CHARACTER SET gb18030);
INSERT INTO charsets VALUES ('ÿé\\', 'é中\\\n', '😀', '😀\t', '中文\\', '表ソ\\', '功許\\', '😀中\\'), ('', '', '', '', '', '', '', '');
CREATE TABLE collations (a VARCHAR(20) COLLATE utf8mb4_0900_bin, b VARCHAR(20) COLLATE utf8mb4_ja_0900_as_cs_ks, c VARCHAR(20) COLLATE utf8mb4_zh_0900_as_cs,
  d VARCHAR(20) CHARACTER SET utf8mb3, PRIMARY KEY (a, b));
INSERT INTO collations VALUES ('a', 'は', '中', 'é'), ('A', 'ハ', '国', '');

CREATE TABLE by_expression (id BINARY(16) DEFAULT (UUID_TO_BIN(UUID())) PRIMARY KEY, made DATETIME(3) DEFAULT (NOW(3) - INTERVAL 1 DAY),
  doc JSON DEFAULT (JSON_ARRAY('it''s', "`")), area POINT DEFAULT (POINT(0, 0)), tags JSON DEFAULT ('["x"]'),
  touched TIMESTAMP DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
  name VARCHAR(30) DEFAULT ('a') COMMENT 'DEFAULT (é)');
INSERT INTO by_expression () VALUES (), (), ();
CREATE TABLE functional (id INT PRIMARY KEY, name VARCHAR(40), doc JSON,
  UNIQUE KEY lowered ((LOWER(name))), KEY mixed (id, (CAST(doc->>'$.n' AS SIGNED)) DESC), KEY many ((CAST(doc->'$.tags' AS UNSIGNED ARRAY))));
INSERT INTO functional VALUES (1, 'Ä', '{"n": 7, "tags": [1, 2, 3]}'), (2, 'b', '{"tags": []}'), (3, NULL, NULL);
SET sql_generate_invisible_primary_key = ON;
CREATE TABLE made_up_key (a INT, b TEXT);
SET sql_generate_invisible_primary_key = OFF;
INSERT INTO made_up_key VALUES (1, 'x'), (1, 'x'), (NULL, NULL);
DELETE FROM made_up_key WHERE my_row_id = 2;

CREATE TABLE `we``ird "'%.é中` (`c``ol "é` VARCHAR(10), `.` INT) ENGINE=InnoDB;
INSERT INTO `we``ird "'%.é中` VALUES ('x', 1);
CREATE TABLE `Orders-2` (a INT);
CREATE TABLE `empty` (a INT PRIMARY KEY);
CREATE TABLE nulls (a INT);
INSERT INTO nulls VALUES (NULL), (NULL);
CREATE TABLE one_text (a VARCHAR(9));
INSERT INTO one_text VALUES (''), ('a'), (''), (NULL);
CREATE TABLE parts (a INT, b INT) PARTITION BY HASH (a) PARTITIONS 3;
INSERT INTO parts VALUES (1, 1), (2, 2), (NULL, 3);
CREATE TABLE parts_of_parts (id INT, day DATE, name VARCHAR(20), PRIMARY KEY (id, day)) PARTITION BY RANGE (TO_DAYS(day)) SUBPARTITION BY KEY (id) SUBPARTITIONS 2
  (PARTITION `p``0` VALUES LESS THAN (TO_DAYS('2020-01-01')) COMMENT 'é', PARTITION rest VALUES LESS THAN MAXVALUE);
INSERT INTO parts_of_parts VALUES (1, '2019-12-31', 'a'), (1, '2020-01-01', 'b'), (2, '0000-00-00', 'c');
CREATE TABLE listed (a VARCHAR(10), b INT) PARTITION BY LIST COLUMNS (a) (PARTITION p0 VALUES IN ('it''s', 'x'), PARTITION p1 VALUES IN (NULL, ''));
INSERT INTO listed VALUES ('it''s', 1), (NULL, 2), ('', 3);
CREATE TABLE zero (id INT AUTO_INCREMENT PRIMARY KEY) ENGINE=InnoDB;
CREATE TABLE zero_and_made_of_text (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, a JSON) ENGINE=InnoDB;
SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO';
INSERT INTO zero VALUES (0), (-5), (2147483647);
INSERT INTO zero_and_made_of_text VALUES (5, '[5]'), (0, '{}'), (18446744073709551614, NULL);
SET sql_mode = '';
CREATE TABLE isam (a INT, b TEXT, FULLTEXT (b)) ENGINE=MyISAM;
INSERT INTO isam VALUES (1, 'one two');
CREATE TABLE searched (id INT PRIMARY KEY, b TEXT, FULLTEXT KEY (b) WITH PARSER ngram) ENGINE=InnoDB;
INSERT INTO searched VALUES (1, 'one two 中文');
CREATE TABLE memory (a INT) ENGINE=MEMORY;
INSERT INTO memory VALUES (1);
CREATE TABLE csv (a INT NOT NULL) ENGINE=CSV;
INSERT INTO csv VALUES (1);
CREATE TABLE archived (a INT) ENGINE=ARCHIVE;
INSERT INTO archived VALUES (1);
CREATE TABLE `compressed` (a TEXT) ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=4;
INSERT INTO `compressed` VALUES (REPEAT('a', 1000));
CREATE TABLE annotated (id INT PRIMARY KEY, b INT SECONDARY_ENGINE_ATTRIBUTE '{"b": "it''s `"}') SECONDARY_ENGINE_ATTRIBUTE='{"c": 1}' AUTOEXTEND_SIZE=4M;
INSERT INTO annotated VALUES (1, 2);

CREATE VIEW z_first AS SELECT id, name FROM customers;
CREATE VIEW a_second AS SELECT z.id, o.amount FROM z_first z JOIN orders o ON o.customer = z.id;
CREATE DEFINER='no`body é'@'no%where' SQL SECURITY INVOKER VIEW of_nobody AS SELECT 'it''s "é中"' AS `a``b`, SUM(id) OVER (ORDER BY id) AS s FROM customers;
CREATE VIEW checked AS SELECT id, name FROM customers WHERE id > 0 WITH CASCADED CHECK OPTION;
CREATE TABLE gone_soon (a INT);
CREATE VIEW broken AS SELECT a FROM gone_soon;
DROP TABLE gone_soon;
CREATE TABLE log (a TEXT);
DELIMITER //
CREATE FUNCTION f_b(a INT) RETURNS INT DETERMINISTIC RETURN f_a(a) + 1//
CREATE FUNCTION f_a(a INT) RETURNS INT DETERMINISTIC RETURN a//
CREATE PROCEDURE strange() COMMENT 'é' BEGIN SELECT '$$', "//é中😀", ';;' ; END//
CREATE TRIGGER orders_in BEFORE INSERT ON orders FOR EACH ROW SET NEW.amount = IFNULL(NEW.amount, 1)//
CREATE TRIGGER orders_after AFTER INSERT ON orders FOR EACH ROW INSERT INTO log VALUES ('é')//
CREATE DEFINER='nobody'@'nowhere' TRIGGER orders_second BEFORE INSERT ON orders FOR EACH ROW FOLLOWS orders_in SET NEW.secret = 1//
CREATE TRIGGER a_first BEFORE INSERT ON orders FOR EACH ROW PRECEDES orders_in SET NEW.customer = NEW.customer//
CREATE EVENT later ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01 00:00:00' DISABLE DO DELETE FROM log//
CREATE DEFINER='nobody'@'nowhere' EVENT `la``ter` ON SCHEDULE AT '2037-01-01 00:00:00' ON COMPLETION PRESERVE DISABLE COMMENT 'it''s é' DO BEGIN DELETE FROM log; SELECT '$$'; END//
SET sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES,HIGH_NOT_PRECEDENCE'//
CREATE PROCEDURE "in ""ansi"() SQL SECURITY INVOKER SELECT 'a\' || "name" FROM "customers"//
CREATE VIEW "of ansi" AS SELECT 'a\' || "name" AS "x" FROM customers//
CREATE TRIGGER customers_in BEFORE INSERT ON "customers" FOR EACH ROW SET NEW."name" = "NEW"."name" || '\'//
SET sql_mode = ''//
DELIMITER ;
SET NAMES latin1;
CREATE PROCEDURE in_latin1() SELECT 'a';
SET NAMES utf8mb4;
SET time_zone = '+05:30';
CREATE EVENT far_away ON SCHEDULE EVERY 1 MONTH STARTS '2031-01-01 00:00:00' DISABLE ON REPLICA DO DO 0;
SET time_zone = '+00:00';

CREATE ROLE reader, 'zz role'@'localhost';
GRANT SELECT ON ugly.* TO reader;
CREATE USER 'app'@'%' IDENTIFIED BY 'secret';
GRANT INSERT ON ugly.orders TO 'app'@'%';
GRANT reader, 'zz role'@'localhost' TO 'app'@'%' WITH ADMIN OPTION;
SET DEFAULT ROLE reader TO 'app'@'%';
CREATE USER 'noted'@'10.0.0.0/255.255.255.0' IDENTIFIED WITH caching_sha2_password BY 'it''s secret' REQUIRE SUBJECT '/CN=a "b"' ISSUER '/CN=é'
  WITH MAX_QUERIES_PER_HOUR 5 MAX_USER_CONNECTIONS 2 PASSWORD EXPIRE INTERVAL 90 DAY PASSWORD HISTORY 5 PASSWORD REQUIRE CURRENT
  FAILED_LOGIN_ATTEMPTS 3 PASSWORD_LOCK_TIME 2 ACCOUNT LOCK ATTRIBUTE '{"team": "it''s \\"a\\"", "comment": "é中"}';
CREATE USER 'com`mented'@'%' IDENTIFIED WITH sha256_password BY 'other' COMMENT 'it''s "é"';
GRANT ALL ON *.* TO 'com`mented'@'%' WITH GRANT OPTION;
GRANT PROXY ON 'app'@'%' TO 'com`mented'@'%';
GRANT SELECT (id, amount), UPDATE (`secret`) ON ugly.orders TO reader;
GRANT EXECUTE ON PROCEDURE ugly.strange TO reader;
GRANT BACKUP_ADMIN ON *.* TO 'zz role'@'localhost' WITH GRANT OPTION;
CREATE USER ''@'localhost';
