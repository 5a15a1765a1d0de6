//! The `machinectl` binary: installs the crypto provider and hands over to [`machinectl::cli`].

/// Objects are many small pieces of memory that other threads free: the system's allocator takes half as long again for a fleet.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    // It fails only if a provider is installed already, and nothing before this line could.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    small_pages();
    machinectl::cli::main()
}

/// Of huge pages much would stay unused between the many small pieces: they take a quarter more memory and save no time.
#[cfg(target_os = "linux")]
fn small_pages() {
    // A kernel that can't has none.
    rustix::thread::disable_transparent_huge_pages(true).ok();
}

#[cfg(not(target_os = "linux"))]
const fn small_pages() {}
