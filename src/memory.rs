//! How much memory the program may take: what the machine has, or the container that it runs in. Knows nothing of the rest.
//!
//! `sysinfo` tells that of a process from 0.39 on, which needs a newer Rust than this crate.

use std::{fs, path::Path, sync::LazyLock};

/// `most` bytes, or less where that is more than one of `parts` equal parts of the memory that there is.
pub fn at_most(most: u64, parts: u64) -> u64 {
    static TOTAL: LazyLock<u64> = LazyLock::new(|| total(Path::new("/")));
    most.min(*TOTAL / parts)
}

/// The least of what the kernel says under `root`, in bytes: the machine's memory and the limits of all control groups
/// that this process is in. Linux' "Control Group v2", "Memory Interface Files", and "Memory Resource Controller" for v1.
fn total(root: &Path) -> u64 {
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
    let of_machine = read("proc/meminfo").lines().find_map(of_meminfo);
    let groups = read("proc/self/cgroup");
    let limits = groups.lines().flat_map(|line| limits(root, line));
    limits.chain(of_machine).min().unwrap_or(u64::MAX)
}

/// `MemTotal:  16384 kB`
fn of_meminfo(line: &str) -> Option<u64> {
    let kibibytes = line.strip_prefix("MemTotal:")?.strip_suffix("kB")?;
    Some(kibibytes.trim().parse::<u64>().ok()? * 1024)
}

/// The limits of a control group and those around it, by a line of `/proc/self/cgroup`: `0::/path` of the one hierarchy of
/// v2, or `4:memory:/path` of v1.
fn limits(root: &Path, line: &str) -> Vec<u64> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (folder, file) = match fields.next() {
        Some("") => ("sys/fs/cgroup", "memory.max"),
        Some(controllers) if controllers.split(',').any(|it| it == "memory") => {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return Vec::new(),
    };
    let folder = root.join(folder);
    // Of a container's own path nothing is seen from within where the host's is told: its limit is at the root then.
    let path = fields.next().unwrap_or_default().trim_start_matches('/');
    let groups = Path::new(path).ancestors();
    let files = groups.map(|group| fs::read_to_string(folder.join(group).join(file)));
    // "max" is no limit.
    files
        .filter_map(|text| text.ok()?.trim().parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told where the kernel has these files.
    fn told(files: &[(&str, &str)]) -> u64 {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        total(root.path())
    }

    const MACHINE: (&str, &str) = ("proc/meminfo", "MemTotal:  1000 kB\nMemFree:  10 kB\n");

    #[test]
    fn the_least_of_machine_and_control_groups_counts() {
        assert_eq!(told(&[]), u64::MAX);
        assert_eq!(told(&[MACHINE]), 1_024_000);
        let groups = |text| ("proc/self/cgroup", text);
        let v2 = groups("0::/a/b\n");
        let of = |path, text| told(&[MACHINE, v2, (path, text)]);
        assert_eq!(of("sys/fs/cgroup/a/b/memory.max", "5000\n"), 5_000);
        assert_eq!(of("sys/fs/cgroup/a/memory.max", "6000\n"), 6_000);
        assert_eq!(of("sys/fs/cgroup/memory.max", "7000\n"), 7_000);
        assert_eq!(of("sys/fs/cgroup/a/b/memory.max", "max\n"), 1_024_000);
        assert_eq!(of("sys/fs/cgroup/a/b/memory.max", "9000000\n"), 1_024_000);
        assert_eq!(of("sys/fs/cgroup/other/memory.max", "1\n"), 1_024_000);
        let v1 = groups("5:cpu,cpuacct:/c\n4:hugetlb,memory:/a:b\n0::/\n");
        let of = |path, text| told(&[MACHINE, v1, (path, text)]);
        let limit = "sys/fs/cgroup/memory/a:b/memory.limit_in_bytes";
        assert_eq!(of(limit, "8000\n"), 8_000);
        assert_eq!(of(limit, "9223372036854771712\n"), 1_024_000);
        assert_eq!(
            of("sys/fs/cgroup/memory/c/memory.limit_in_bytes", "1\n"),
            1_024_000
        );
    }

    #[test]
    fn a_part_of_it_is_taken_where_it_is_little() {
        assert_eq!(at_most(1, 8), 1);
        let eighth = at_most(u64::MAX, 8);
        assert!((1..=u64::MAX / 8).contains(&eighth));
        assert!(at_most(u64::MAX, 16) <= eighth);
    }
}
