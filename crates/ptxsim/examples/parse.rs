//! Reads PTX files and lists their kernels: `cargo run --example parse -- a.ptx b.ptx`

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for path in std::env::args().skip(1) {
        let module = ptxsim::Module::parse(&path, &std::fs::read_to_string(&path)?)?;
        for kernel in module.kernels() {
            let params: Vec<String> = kernel.params.iter().map(|p| format!("{} {}", p.kind, p.name)).collect();
            println!("{path}:{}: {}({})", kernel.line, kernel.name, params.join(", "));
            let (shared, local, threads) = (kernel.static_shared, kernel.local, kernel.max_threads);
            println!("  {shared} bytes of static shared memory, {local} of local, at most {threads:?} threads");
        }
    }
    Ok(())
}
