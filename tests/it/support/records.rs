//! Records in Redis, written over behind the program's back.

use redis::Cmd;

use super::servers::Server;

/// A format that no version has written yet.
pub const UNKNOWN_FORMAT: u8 = 99;

/// The key of an account's record.
pub fn account_key(server: &Server, account: &str) -> String {
    the_one_key(server, &format!("*:a:{account}"))
}

/// The key of an account's packed grants.
pub fn packed_grants_key(server: &Server, account: &str) -> String {
    the_one_key(server, &format!("*:g:{account}"))
}

fn the_one_key(server: &Server, pattern: &str) -> String {
    let mut found: Vec<String> = server.ask(redis::cmd("KEYS").arg(pattern));
    assert_eq!(found.len(), 1, "{pattern} is there once");
    found.remove(0)
}

/// Writes over what the account's first grant has used: the record is packed, and one script of the
/// test's own knows where.
pub fn use_up(server: &Server, account: &str, used: u64) {
    let script = "local account = cmsgpack.unpack(redis.call('GET', KEYS[1]))
        account[#account][1][4] = tonumber(ARGV[1])
        redis.call('SET', KEYS[1], cmsgpack.pack(account))";
    let mut write = redis::cmd("EVAL");
    let key = account_key(server, account);
    server.ask::<()>(write.arg(script).arg(1).arg(key).arg(used));
}

/// Puts another format into a record, and answers what it was before.
pub fn make_foreign(server: &Server, key: &str) -> Vec<u8> {
    let was: Vec<u8> = server.ask(&Cmd::get(key));
    let mut record = was.clone();
    // The format is the first value of an array, whose head is three bytes or one.
    record[if was[0] == 0xdc { 3 } else { 1 }] = UNKNOWN_FORMAT;
    put(server, key, record);
    was
}

/// Puts a record where one was.
pub fn put(server: &Server, key: &str, record: Vec<u8>) {
    server.ask::<()>(&Cmd::set(key, record));
}
