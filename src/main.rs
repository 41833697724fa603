//! Which program am I? Everything else is in the library.

fn main() {
    let mut args = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned());
    let program = args.next().unwrap_or_default();
    let args: Vec<String> = args.collect();
    std::process::exit(isinit::cli::main(&program, &args));
}
