//! The hookonce program; everything is in the library.

fn main() -> std::process::ExitCode {
    hookonce::command::run()
}
