//! Before the crate is compiled: has the linker leave out of shipped builds what they can do without. It is no part of the library or the
//! program.

use std::path::Path;

/// Tables for unwinding the stack: 1.7 MB. A panic ends the program at once, after its message, which names the file and the line; that
/// takes none of them. What goes is the list of frames after the message, which without symbols says nothing. Nothing else may walk the
/// stack: libgcc aborts where it finds no tables (`clippy.toml` and `deny.toml` keep out what would).
const UNWIND_TABLES: &str = "SECTIONS { /DISCARD/ : { *(.eh_frame .eh_frame.* .gcc_except_table .gcc_except_table.*) } } INSERT AFTER .text;\n";

fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=src/build.rs");
    println!("cargo::rerun-if-env-changed=CARGO_PROFILE_RELEASE_PANIC");
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|v| v == value);
    // For this target rustc brings its own linker along, which knows the options; whoever chose another one keeps it.
    let own_linker = !std::env::vars().any(|(name, value)| {
        name.ends_with("_LINKER") || (name == "CARGO_ENCODED_RUSTFLAGS" && value.contains("link"))
    });
    if !own_linker || !is("TARGET", "x86_64-unknown-linux-gnu") || !is("PROFILE", "release") {
        return Ok(());
    }
    // Functions of equal code are kept once: some 300 kB.
    println!("cargo::rustc-link-arg-bins=-Wl,--icf=all");
    // Debuggers and profilers want the tables: builds with debug information (the profiles `profiling` and `bench`) keep them.
    if is("DEBUG", "false") && !is("CARGO_PROFILE_RELEASE_PANIC", "unwind") {
        let script =
            Path::new(&std::env::var("OUT_DIR").map_err(std::io::Error::other)?).join("unwind-tables.ld");
        std::fs::write(&script, UNWIND_TABLES)?;
        println!("cargo::rustc-link-arg-bins=-Wl,--no-eh-frame-hdr");
        println!("cargo::rustc-link-arg-bins=-T{}", script.display());
    }
    Ok(())
}
