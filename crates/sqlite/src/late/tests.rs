//! Tests on the index of idempotency keys. Those of holders and states need a store.
#![allow(clippy::unwrap_used)]

use rusqlite::{Connection, params};

use super::{
    index::LateIndex,
    key::{Key, Keys},
};

type KeyIndex = LateIndex<Keys>;

const MOST: usize = 200;

fn database() -> Connection {
    let mut connection = Connection::open_in_memory().unwrap();
    crate::schema::migrate(&mut connection).unwrap();
    connection
}

fn key(number: u64) -> Key {
    // Spread over the key space, as digests are.
    let spread = u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    spread.to_be_bytes()
}

/// Adds a record for each key, as one group.
fn add(keys: &mut KeyIndex, connection: &Connection, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let seq = keys.add_record(key(number));
        connection
            .execute(
                "INSERT INTO idempotency_records (seq, key, body, stored_at) VALUES (?1, ?2, x'', ?1)",
                params![seq, key(number)],
            )
            .unwrap();
    }
    keys.enter_some(connection).unwrap();
}

fn count(connection: &Connection, table: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM {table}");
    connection.query_row(&sql, [], |row| row.get(0)).unwrap()
}

/// Every key leads to its newest record.
fn assert_found(keys: &KeyIndex, connection: &Connection) {
    let mut newest = connection
        .prepare("SELECT key, max(seq) FROM idempotency_records GROUP BY key")
        .unwrap();
    let mut rows = newest.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let (key, seq): (Key, i64) = (row.get(0).unwrap(), row.get(1).unwrap());
        assert_eq!(keys.find(connection, &key).unwrap(), Some(seq));
    }
}

/// More than a small group.
const GROUP: u64 = 20;

/// The keys of the n-th group.
fn group(n: u64) -> std::ops::Range<u64> {
    n * GROUP..(n + 1) * GROUP
}

#[test]
fn each_key_is_found_whether_it_waits_or_is_entered_even_after_a_crash() {
    let connection = database();
    let mut keys = KeyIndex::open(&connection, MOST).unwrap();
    for n in 0..300 {
        // Some keys come again, as they may after a day.
        add(
            &mut keys,
            &connection,
            group(if n % 7 == 3 { n / 2 } else { n }),
        );
        assert_found(&keys, &connection);
        keys.publish();
        assert_found(&keys, &connection);
        assert!(keys.waiting().read().len() <= MOST + GROUP as usize);
        if n % 20 == 11 {
            let last = keys.last();
            keys = KeyIndex::open(&connection, MOST).unwrap();
            assert_eq!(keys.last(), last);
            assert_found(&keys, &connection);
            let waiting = keys.waiting().read().len();
            assert!(
                (MOST..=4 * MOST).contains(&waiting),
                "{waiting} are read on start"
            );
            while keys.waiting().read().len() > MOST {
                add(&mut keys, &connection, group(1_000));
                keys.publish();
            }
        }
    }
    assert!(count(&connection, "idempotency_keys") > 3_000);
}

#[test]
fn small_groups_leave_little_to_be_read() {
    let connection = database();
    let mut keys = KeyIndex::open(&connection, MOST).unwrap();
    for n in 0..MOST as u64 / GROUP {
        add(&mut keys, &connection, group(n));
        keys.publish();
    }
    assert_eq!(count(&connection, "idempotency_keys"), 0);
    for number in 10_000..11_000 {
        add(&mut keys, &connection, number..number + 1);
        keys.publish();
    }
    assert!(keys.waiting().read().len() <= 2);
    assert_found(&keys, &connection);
    let reopened = KeyIndex::open(&connection, MOST).unwrap();
    assert!(reopened.waiting().read().len() <= 10);
}

#[test]
fn what_is_rolled_back_leaves_no_trace() {
    let connection = database();
    let mut keys = KeyIndex::open(&connection, MOST).unwrap();
    for n in 0..20 {
        add(&mut keys, &connection, group(n));
        keys.publish();
    }
    for n in 20..60 {
        let undone = connection.unchecked_transaction().unwrap();
        add(&mut keys, &connection, group(n));
        undone.rollback().unwrap();
        keys.forget();
        for number in group(n) {
            assert_eq!(keys.find(&connection, &key(number)).unwrap(), None);
        }
        assert_found(&keys, &connection);
        add(&mut keys, &connection, group(n));
        keys.publish();
        assert_found(&keys, &connection);
    }
}

#[test]
fn all_is_entered_on_close_and_when_too_much_is_found() {
    let connection = database();
    let mut keys = KeyIndex::open(&connection, MOST).unwrap();
    for n in 0..7 {
        add(&mut keys, &connection, group(n));
        keys.publish();
    }
    keys.enter_all(&connection).unwrap();
    keys.publish();
    assert_eq!(count(&connection, "idempotency_keys"), 140);
    let keys = KeyIndex::open(&connection, MOST).unwrap();
    assert!(keys.waiting().read().len() <= 1);
    assert_found(&keys, &connection);
    // As if the clock had been set back.
    connection
        .execute("UPDATE late_indexes SET entered_below = 3", [])
        .unwrap();
    let keys = KeyIndex::open(&connection, 10).unwrap();
    assert!(keys.waiting().read().len() <= 40);
    assert_found(&keys, &connection);
    let keys = KeyIndex::open(&connection, 10).unwrap();
    assert_found(&keys, &connection);
}

#[test]
fn places_are_not_given_twice_once_all_records_are_gone() {
    let connection = database();
    let mut keys = KeyIndex::open(&connection, MOST).unwrap();
    for n in 0..50 {
        add(&mut keys, &connection, group(n));
        keys.publish();
    }
    connection
        .execute("DELETE FROM idempotency_records", [])
        .unwrap();
    let mut keys = KeyIndex::open(&connection, MOST).unwrap();
    add(&mut keys, &connection, 10_000..10_001);
    keys.publish();
    let keys = KeyIndex::open(&connection, MOST).unwrap();
    assert_found(&keys, &connection);
}

#[test]
fn what_cannot_be_entered_is_counted_until_it_can() {
    let connection = database();
    let mut keys = KeyIndex::open(&connection, MOST).unwrap();
    let run = |keys: &mut KeyIndex, n| {
        let transaction = connection.unchecked_transaction().unwrap();
        add(keys, &connection, group(n));
        transaction.commit().unwrap();
        keys.publish();
    };
    run(&mut keys, 0);
    assert_eq!(keys.stuck(), 0);
    // Acts as a damaged page.
    let digits: String = key(3).iter().map(|byte| format!("{byte:02x}")).collect();
    let refuse = format!(
        "CREATE TRIGGER refuse BEFORE INSERT ON idempotency_keys WHEN NEW.key = x'{digits}'
         BEGIN SELECT RAISE(ABORT, 'no'); END"
    );
    connection.execute_batch(&refuse).unwrap();
    for n in 1..60 {
        run(&mut keys, n);
    }
    assert_eq!(keys.stuck(), 1);
    connection.execute_batch("DROP TRIGGER refuse").unwrap();
    for n in 60..120 {
        run(&mut keys, n);
    }
    assert_eq!(keys.stuck(), 0);
}
