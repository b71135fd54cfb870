//! The memory that the allocator of glibc keeps.

/// Limits the arenas of the allocator to one for each processor, unless the environment sets their number.
///
/// By default, there are eight for each processor, and each keeps what its threads have freed: with 256 bodies of 8 MiB at
/// once, 1.2 GB rather than 0.3 (docs/verification.md). The number is read when a process starts, so this executes the
/// program again, as the same process.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn limit() {
    use std::env;
    use std::os::unix::process::CommandExt;
    use std::process::Command;
    use std::thread::available_parallelism;

    if env::var_os(VARIABLE).is_some() {
        return;
    }
    let (Ok(program), Ok(processors)) = (env::current_exe(), available_parallelism()) else { return };
    let mut arguments = env::args_os();
    let mut command = Command::new(program);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    // It returns only if it failed. The process then works with more memory.
    let _error = command.args(arguments).env(VARIABLE, processors.to_string()).exec();
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
const VARIABLE: &str = "MALLOC_ARENA_MAX";

/// Other allocators have no such limit.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn limit() {}
