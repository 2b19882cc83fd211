//! The `ckaad` program: parses the command line and maps the outcome to an exit code.

fn main() -> std::process::ExitCode {
    ckaad::cli::main()
}
