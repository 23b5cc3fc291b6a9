//! What the process itself uses, under the names that all exporters of Prometheus give it. Only on Linux.

use std::fmt::Write as _;
use std::fs::{read_dir, read_to_string};

/// The names.
#[cfg(test)]
pub(crate) const NAMES: [&str; 5] = [
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
];

/// Linux gives times to programs in hundredths of a second, whatever it uses itself.
const TICKS_PER_SECOND: f64 = 100.0;

/// The text of a scrape. What cannot be read is left out.
pub(crate) fn metrics() -> String {
    let mut text = String::new();
    let mut add = |name: &str, kind: &str, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
        }
    };
    let stat = read_to_string("/proc/self/stat").unwrap_or_default();
    let (limits, status) = (read_to_string("/proc/self/limits"), read_to_string("/proc/self/status"));
    let descriptors = read_dir("/proc/self/fd").ok().map(|entries| entries.count() as f64);
    // Numbered as in proc(5), where the state is the third.
    let ticks = |field: usize| field_of(&stat, field).map(|ticks| ticks / TICKS_PER_SECOND);
    let cpu = ticks(14).zip(ticks(15)).map(|(user, system)| user + system);
    add("process_cpu_seconds_total", "counter", "Processor time that the process has used", cpu);
    let most = limits.ok().and_then(|limits| number_after(&limits, "Max open files"));
    add("process_max_fds", "gauge", "Most file descriptors, and so connections, that the process may have", most);
    add("process_open_fds", "gauge", "File descriptors that are open", descriptors);
    let resident = status.ok().and_then(|status| number_after(&status, "VmRSS:")).map(|kilobytes| kilobytes * 1024.0);
    add("process_resident_memory_bytes", "gauge", "Memory that the process has in use", resident);
    let booted = read_to_string("/proc/stat").ok().and_then(|system| number_after(&system, "btime"));
    let started = booted.zip(ticks(22)).map(|(booted, since)| booted + since);
    add("process_start_time_seconds", "gauge", "When the process was started, in seconds since 1970", started);
    text
}

/// A field of /proc/self/stat. The second is the program's name in parentheses, which may contain anything.
fn field_of(stat: &str, field: usize) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(field.checked_sub(3)?)?.parse().ok()
}

/// The first number in the line that begins with `word`.
fn number_after(text: &str, word: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(word))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_sensible_value() {
        let text = metrics();
        for name in NAMES {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse::<f64>().ok());
            assert!(value.is_some_and(|value| value >= 0.0), "{name} in {text}");
        }
        assert_eq!(field_of("7 (a) b (c) S 1 2", 4), Some(1.0));
        let age = |text: &str| number_after(text, "process_start_time_seconds").unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        assert!((now - 3_600.0..now + 60.0).contains(&age(&text)), "{text}");
    }
}
