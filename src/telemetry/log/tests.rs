use std::{sync::Arc, time::Duration};

use super::{limit::LINES_MAX, *};
use crate::{
    clock::ManualClock,
    domain::timestamp::Timestamp,
    telemetry::present::{Present, within},
};

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[derive(Clone, Debug)]
struct Hands(Arc<ManualClock>);

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }
}

/// What is logged while `say` runs.
fn logged(format: LogFormat, account_ids: bool, say: impl FnOnce(&ManualClock)) -> String {
    let written = Written::default();
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_795_000_000_123)));
    let config = LogConfig {
        format,
        filter: "debug".to_owned(),
        account_ids,
        slow_call_ms: 0,
    };
    let lines = Lines::new(&config, Hands(clock.clone()), written.clone());
    let subscriber = tracing_subscriber::registry().with(lines);
    tracing::subscriber::with_default(subscriber, || say(&clock));
    let bytes = written.0.lock().clone();
    String::from_utf8(bytes).unwrap()
}

fn say_something() {
    tracing::warn!(account = "acme", failures = 3u64, error = %"a \"b\"\nc", "step\nfailed");
}

#[test]
fn a_line_for_people_is_one_line() {
    let text = logged(LogFormat::Text, false, |_| say_something());
    assert_eq!(
        text,
        "2026-11-18T11:06:40.123Z  WARN tollgate::telemetry::log::tests: step\\nfailed failures=3 \
         error=\"a \\\"b\\\"\\nc\"\n"
    );
}

#[test]
fn a_line_for_machines_is_one_object() {
    let text = logged(LogFormat::Json, true, |_| say_something());
    assert_eq!(
        text,
        "{\"timestamp\":\"2026-11-18T11:06:40.123Z\",\"level\":\"WARN\",\
         \"target\":\"tollgate::telemetry::log::tests\",\"message\":\"step\\nfailed\",\
         \"account\":\"acme\",\"failures\":3,\"error\":\"a \\\"b\\\"\\nc\"}\n"
    );
}

#[test]
fn accounts_are_named_where_wanted_and_in_errors() {
    let say = |_: &ManualClock| {
        tracing::info!(account_id = "acme", "one");
        tracing::error!(account = "acme", "two");
    };
    let reserved = logged(LogFormat::Text, false, say);
    assert!(reserved.contains("one\n") && reserved.contains("two account=acme\n"));
    let open = logged(LogFormat::Text, true, say);
    assert!(open.contains("one account_id=acme\n"), "{open}");
}

#[test]
fn what_comes_too_often_is_counted_instead() {
    let text = logged(LogFormat::Text, false, |clock| {
        for round in 0..2 {
            for _ in 0..LINES_MAX + 5 {
                tracing::warn!("often");
            }
            if round == 0 {
                clock.advance(Duration::from_secs(11));
            }
        }
        for _ in 0..LINES_MAX + 5 {
            tracing::debug!("asked for");
            tracing::error!(target: TARGET_LOST, "lost");
        }
    });
    let lines = |words: &str| text.lines().filter(|line| line.ends_with(words)).count();
    assert_eq!(lines("often"), 2 * LINES_MAX as usize - 1, "{text}");
    assert_eq!(lines("often suppressed=5"), 1, "{text}");
    for all in ["asked for", "lost"] {
        assert_eq!(lines(all), LINES_MAX as usize + 5, "{all}");
    }
    assert!(suppressed() >= 10);
}

#[test]
fn a_line_within_a_call_has_its_ids() {
    let text = logged(LogFormat::Text, false, |_| {
        let mut call = Present {
            in_call: true,
            request_id: Some("req-7".into()),
            ..Present::default()
        };
        within(&mut call, || tracing::info!("inside"));
        tracing::info!("outside");
    });
    assert!(text.contains("inside request_id=req-7\n"), "{text}");
    assert!(text.ends_with("outside\n"), "{text}");
}
