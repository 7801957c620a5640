//! The command `siskin-export`.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
