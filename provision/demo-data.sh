#!/usr/bin/env bash
# Loads demo data: a small shop, several engines, and names that trip tools up.
#
#   demo-data.sh [--size MB]
#
# --size has the table shop.bulk hold about that many megabytes besides; the
# binary log grows by as much. The rows are the same on every host. Running it
# again adds what is missing.

# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"

# one INSERT adds this many rows of half a kilobyte: a transaction of 4 MB
BULK_ROWS=8000

main() {
    local size=''
    while [ $# != 0 ]; do
        case $1 in
            --help) usage && exit 0 ;;
            --size) size=${2-} && number --size "$size" ;;
            *) bad_use "unknown argument: $1" ;;
        esac
        shift 2
    done
    need_root
    if [ -z "$(sql <<<"SELECT 1 FROM information_schema.routines
            WHERE routine_schema = 'shop' AND routine_name = 'demo_is_complete'")" ]; then
        load_shop
        load_other_engines
        load_odd_names
        sql <<<'CREATE FUNCTION shop.demo_is_complete() RETURNS INT DETERMINISTIC NO SQL RETURN 1'
    fi
    [ -z "$size" ] || load_bulk "$size"
}

# numbers COUNT: a subquery with the column n from 0 on; neither server has one
# way to make many rows that the other has too
numbers() {
    local digits='(SELECT 0 d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3
        UNION ALL SELECT 4 UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7
        UNION ALL SELECT 8 UNION ALL SELECT 9)'
    echo "(SELECT a.d + 10 * b.d + 100 * c.d + 1000 * e.d AS n
        FROM $digits a, $digits b, $digits c, $digits e HAVING n < $1) numbers"
}

load_shop() {
    sql <<SQL
DROP DATABASE IF EXISTS shop;
CREATE DATABASE shop CHARACTER SET utf8mb4;
USE shop;
CREATE TABLE customers (
    id INT AUTO_INCREMENT PRIMARY KEY,
    name VARCHAR(80) NOT NULL,
    email VARCHAR(120) NOT NULL UNIQUE,
    balance DECIMAL(10, 2) NOT NULL DEFAULT 0,
    about JSON
) ENGINE = InnoDB;
CREATE TABLE orders (
    id INT AUTO_INCREMENT PRIMARY KEY,
    customer_id INT NOT NULL,
    placed_at DATETIME NOT NULL,
    status ENUM('new', 'paid', 'sent', 'returned') NOT NULL,
    KEY (placed_at),
    FOREIGN KEY (customer_id) REFERENCES customers (id)
) ENGINE = InnoDB;
CREATE TABLE items (
    order_id INT NOT NULL,
    line INT NOT NULL,
    product VARCHAR(60) NOT NULL,
    pieces INT NOT NULL,
    price DECIMAL(8, 2) NOT NULL,
    total DECIMAL(10, 2) AS (pieces * price) STORED,
    PRIMARY KEY (order_id, line),
    FOREIGN KEY (order_id) REFERENCES orders (id)
) ENGINE = InnoDB;
CREATE TABLE changes (
    id INT AUTO_INCREMENT PRIMARY KEY, order_id INT, old_status VARCHAR(10), new_status VARCHAR(10)
) ENGINE = InnoDB;
CREATE TABLE sales (
    day DATE NOT NULL, shop INT NOT NULL, amount DECIMAL(12, 2) NOT NULL, PRIMARY KEY (day, shop)
) ENGINE = InnoDB PARTITION BY RANGE COLUMNS (day) (
    PARTITION before_2024 VALUES LESS THAN ('2024-01-01'),
    PARTITION in_2024 VALUES LESS THAN ('2025-01-01'),
    PARTITION later VALUES LESS THAN MAXVALUE
);

INSERT INTO customers (name, email, balance, about)
    SELECT CONCAT('Customer ', n, IF(n % 7 = 0, ' Ünal 中', '')), CONCAT('c', n, '@shop.test'), n / 3,
        JSON_OBJECT('loyal', n % 2 = 0, 'since', 2000 + n % 25)
    FROM $(numbers 1000) ORDER BY n;
INSERT INTO orders (customer_id, placed_at, status)
    SELECT 1 + n % 1000, '2024-01-01' + INTERVAL n HOUR, ELT(1 + n % 4, 'new', 'paid', 'sent', 'returned')
    FROM $(numbers 3000) ORDER BY n;
INSERT INTO items (order_id, line, product, pieces, price)
    SELECT 1 + n % 3000, 1 + n DIV 3000, CONCAT('product ', n % 97), 1 + n % 5, 1 + n % 100 / 7
    FROM $(numbers 9000);
INSERT INTO sales SELECT '2023-06-01' + INTERVAL n DAY, 1, n FROM $(numbers 900);

CREATE VIEW open_orders AS
    SELECT o.id, c.name, SUM(i.total) AS total
    FROM orders o JOIN customers c ON c.id = o.customer_id JOIN items i ON i.order_id = o.id
    WHERE o.status = 'new' GROUP BY o.id, c.name;
CREATE FUNCTION order_total(wanted INT) RETURNS DECIMAL(12, 2) READS SQL DATA
    RETURN (SELECT SUM(total) FROM items WHERE order_id = wanted);
CREATE EVENT forget_changes ON SCHEDULE EVERY 1 YEAR STARTS '2100-01-01 00:00:00'
    DO DELETE FROM shop.changes;
DELIMITER //
CREATE TRIGGER remember_status AFTER UPDATE ON orders FOR EACH ROW
BEGIN
    IF OLD.status <> NEW.status THEN
        INSERT INTO changes (order_id, old_status, new_status) VALUES (OLD.id, OLD.status, NEW.status);
    END IF;
END //
CREATE PROCEDURE pay(IN wanted INT)
BEGIN
    UPDATE orders SET status = 'paid' WHERE id = wanted;
END //
DELIMITER ;
CALL pay(1);
CALL pay(5);
SQL
}

# Engines that a lock must stop too, because no redo log protects them.
load_other_engines() {
    local engine
    for engine in MyISAM Aria ARCHIVE CSV; do
        [ -n "$(sql <<<"SELECT 1 FROM information_schema.engines
            WHERE engine = '$engine' AND support IN ('YES', 'DEFAULT')")" ] || continue
        sql <<SQL
CREATE TABLE shop.in_${engine,,} (id INT NOT NULL, note VARCHAR(60) NOT NULL) ENGINE = $engine;
INSERT INTO shop.in_${engine,,} SELECT n, CONCAT('row ', n) FROM $(numbers 500) ORDER BY n;
SQL
    done
}

load_odd_names() {
    local database='odd-naïve db' name quoted
    sql <<<"DROP DATABASE IF EXISTS \`$database\`; CREATE DATABASE \`$database\` CHARACTER SET utf8mb4"
    # shellcheck disable=SC2016 # the name itself has the dollar
    for name in 'back`tick' '50% off' 'two words' $'new\nline' 'größe 中' '-rf' '$(reboot)' \
        "it's" 'a.b' '#sql-like' 'select' "$(printf 'long%.0s' {1..16})"; do
        quoted="\`$database\`.\`${name//\`/\`\`}\`"
        sql <<SQL
CREATE TABLE $quoted (\`the id\` INT PRIMARY KEY, \`\`\`v%\` VARCHAR(40)) ENGINE = InnoDB;
INSERT INTO $quoted SELECT n, CONCAT('value ', n) FROM $(numbers 20);
SQL
    done
}

load_bulk() {
    local wanted=$(($1 * 1000 * 2 / BULK_ROWS)) present round
    sql <<SQL
CREATE TABLE IF NOT EXISTS shop.bulk (
    round INT NOT NULL, n INT NOT NULL, payload VARCHAR(512) CHARACTER SET ascii NOT NULL,
    PRIMARY KEY (round, n)
) ENGINE = InnoDB;
SQL
    present=$(sql <<<'SELECT COUNT(DISTINCT round) FROM shop.bulk')
    need_room $(((wanted - present) * BULK_ROWS / 2000))
    [ "$present" != 0 ] || sql <<SQL
INSERT INTO shop.bulk SELECT 0, n, CONCAT(SHA2(n, 512), SHA2(-n, 512), SHA2(n + 0.5, 512), SHA2(n - 0.5, 512))
    FROM $(numbers $BULK_ROWS);
SQL
    for ((round = present > 0 ? present : 1; round < wanted; round++)); do
        # hashing each row anew would take most of the time
        echo "INSERT INTO shop.bulk SELECT $round, n,
            CONCAT(SHA2($round, 256), SUBSTRING(payload, 65)) FROM shop.bulk WHERE round = 0;"
    done | sql
}

# need_room MB: for the rows and again for the binary log
need_room() {
    local free
    free=$(df --output=avail -BM "$DATA_DIRECTORY" | tail -n 1 | tr -dc 0-9)
    [ "$free" -gt $(($1 * 5 / 2 + 64)) ] ||
        fail "$DATA_DIRECTORY: $free MB free, $1 MB of rows and their binary log need more" \
            "give a smaller --size, or make the volume larger"
}

main "$@"
