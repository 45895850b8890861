//! The hookonce program; everything is in the library.

/// Requests and the threads that write hand memory to each other, which the system's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    hookonce::command::run()
}
