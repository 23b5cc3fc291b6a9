//! How much memory this process may use: that of the machine, or the limit of its control group if that is less.

use std::fs::read_to_string;

/// The bytes that this process may use; a gigabyte where the system does not say.
pub(crate) fn available() -> usize {
    const UNKNOWN: usize = 1 << 30;
    let machine = read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    let group = group_limits().into_iter().min();
    machine.into_iter().chain(group).min().unwrap_or(UNKNOWN)
}

/// The limits of this process's control group and of the groups around it. A container sees its own group as the root.
fn group_limits() -> Vec<usize> {
    let read = |path: &str| read_to_string(path).ok().and_then(|text| limit(&text));
    let mut limits: Vec<usize> = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .into_iter()
        .filter_map(read)
        .collect();
    let own = read_to_string("/proc/self/cgroup").unwrap_or_default();
    // Version 1 has a hierarchy for each resource.
    if let Some(path) = own.lines().find_map(|line| line.split_once(":memory:/").map(|(_, path)| path)) {
        limits.extend(read(&format!("/sys/fs/cgroup/memory/{path}/memory.limit_in_bytes")));
    }
    let mut path = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    while !path.is_empty() {
        limits.extend(read(&format!("/sys/fs/cgroup/{path}/memory.max")));
        path = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    }
    limits
}

/// `MemTotal` of `/proc/meminfo`.
fn total(meminfo: &str) -> Option<usize> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()?.checked_mul(1024)
}

/// A control group's limit. `max`, or a number beyond the memory of any machine, is none.
fn limit(text: &str) -> Option<usize> {
    text.trim().parse().ok().filter(|bytes| *bytes < 1 << 50)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_files_are_read() {
        assert_eq!(total("MemTotal:       24689412 kB\nMemFree:         1 kB\n"), Some(24_689_412 * 1024));
        assert_eq!(total("MemFree: 1 kB\n"), None);
        assert_eq!(limit("536870912\n"), Some(536_870_912));
        assert_eq!(limit("max\n"), None);
        assert_eq!(limit("9223372036854771712\n"), None, "how control groups v1 say that there is no limit");
        assert!(available() > 1 << 20);
    }
}
