//! The `machinectl` binary: installs the crypto provider and hands over to [`machinectl::cli`].

fn main() -> std::process::ExitCode {
    // It fails only if a provider is installed already, and nothing before this line could.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    machinectl::cli::main()
}
