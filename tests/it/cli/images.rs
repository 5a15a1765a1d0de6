//! The image of the program, and what is refused before it is made.

use std::fs;

use super::{Home, snapshot};

/// A program for Linux of one segment, which asks for an interpreter or not.
fn program(interpreter: bool) -> Vec<u8> {
    let mut program = vec![0; 64];
    program[..6].copy_from_slice(b"\x7fELF\x02\x01");
    (program[18], program[32], program[54], program[56]) = (62, 64, 56, 1);
    program.extend([if interpreter { 3 } else { 1 }, 0, 0, 0]);
    program.extend([0; 28]);
    program.extend(120_u64.to_le_bytes());
    program.extend([0; 16]);
    program
}

fn home() -> Home {
    let home = Home::new();
    fs::write(home.path("static"), program(false)).unwrap();
    fs::write(home.path("dynamic"), program(true)).unwrap();
    home.write("script", "#!/bin/sh\n");
    home
}

#[test]
fn the_same_program_gives_the_same_bytes() {
    let home = home();
    let make = ["util", "image", "--program", "static", "-o"];
    for file in ["a.tar", "b.tar"] {
        home.good(&[&make[..], &[file]].concat());
    }
    let written = fs::read(home.path("a.tar")).unwrap();
    assert_eq!(written, fs::read(home.path("b.tar")).unwrap());
    let printed = home.run(&[&make[..], &["-"]].concat());
    assert_eq!(printed.stdout, written);
    // Nothing is left lying about.
    let parts = fs::read_dir(home.path(".")).unwrap();
    assert!(
        !parts
            .flatten()
            .any(|e| e.path().extension().is_some_and(|e| e == "part"))
    );
}

#[test]
fn this_program_brings_along_all_that_it_needs() {
    let home = home();
    snapshot!(
        home,
        "image_own",
        home.run(&["util", "image", "-q", "-o", "own.tar"])
    );
    assert!(fs::metadata(home.path("own.tar")).unwrap().len() > 1_000_000);
}

#[test]
fn what_can_not_be_put_into_an_image_says_why() {
    let home = home();
    let run = |arguments: &[&str]| home.run(&[&["util", "image"], arguments].concat());
    snapshot!(home, "image_dynamic", run(&["--program", "dynamic"]));
    snapshot!(home, "image_script", run(&["--program", "script"]));
    snapshot!(home, "image_no_program", run(&["--program", "none"]));
    snapshot!(
        home,
        "image_name",
        run(&["--name", "Upper:1", "--program", "static"])
    );
    let pinned = format!("a@sha256:{}", "0".repeat(64));
    snapshot!(
        home,
        "image_digest",
        run(&["--name", &pinned, "--program", "static"])
    );
    home.write("text", "mine");
    snapshot!(home, "image_exists", run(&["--program", "static", "-o", "text"]));
    assert_eq!(fs::read(home.path("text")).unwrap(), b"mine");
    assert!(
        run(&["--program", "static", "-o", "text", "--force"])
            .status
            .success()
    );
    // An image takes the place of an older one.
    assert!(run(&["--program", "static", "-o", "text"]).status.success());
    snapshot!(
        home,
        "image_nowhere",
        run(&["--program", "static", "-o", "no/where.tar"])
    );
}

#[test]
fn a_terminal_gets_no_image() {
    let home = home();
    // Both ends of a pseudo-terminal are terminals.
    let terminal = fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/ptmx")
        .unwrap();
    let mut command = home.command(&["util", "image", "--program", "static", "-o", "-"]);
    command.stdout(terminal);
    snapshot!(home, "image_terminal", command.output().unwrap());
}
